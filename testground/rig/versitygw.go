package rig

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// The one account of a VersityGW.
const (
	S3AccessKey = "testkey"
	S3SecretKey = "testsecret"
)

// VersityGW is a versitygw with versions of objects, whose data lie in a directory
// of their own. It listens on a Unix socket, so that it needs no free port, and
// is reached over TCP through a proxy, which knows what it was asked.
type VersityGW struct {
	URL string // without a slash at the end

	dir    string
	proc   *daemon
	proxy  *httputil.ReverseProxy
	server *http.Server
	served chan error // of Serve

	mu       sync.Mutex
	requests []string
}

// FindVersityGW returns the name of a versitygw binary, which is of use only
// where curl is.
func FindVersityGW() (string, error) {
	if _, err := exec.LookPath("curl"); err != nil {
		return "", err
	}
	return Find("HYPHA_VERSITYGW", "versitygw", "versitygw-v1.8.0/versitygw")
}

// StartVersityGW starts a versitygw without buckets.
func StartVersityGW(ctx context.Context, binary string) (g *VersityGW, err error) {
	g = &VersityGW{served: make(chan error, 1)}
	// Sockets have short names, wherever temporary files go.
	if g.dir, err = os.MkdirTemp("/tmp", "vg"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.Stop())
		}
	}()
	for _, name := range []string{"data", "meta", "versions"} {
		if err := os.Mkdir(filepath.Join(g.dir, name), 0o700); err != nil {
			return g, err
		}
	}
	// The sidecar keeps attributes where the file system has none.
	g.proc, err = startDaemon(ctx, Program{Path: binary, Args: []string{
		"--quiet", "--port", g.socket(), "posix",
		"--sidecar", filepath.Join(g.dir, "meta"), "--versioning-dir", filepath.Join(g.dir, "versions"), filepath.Join(g.dir, "data"),
	}, Env: []string{"ROOT_ACCESS_KEY=" + S3AccessKey, "ROOT_SECRET_KEY=" + S3SecretKey}})
	if err != nil {
		return g, err
	}
	err = poll(ctx, g.proc, "versitygw", func() error {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", g.socket())
		if err != nil {
			return err
		}
		return conn.Close()
	})
	if err != nil {
		return g, err
	}
	return g, g.listen(ctx)
}

// socket returns the name of versitygw's socket.
func (g *VersityGW) socket() string { return filepath.Join(g.dir, "s3.sock") }

// listen opens the proxy. Signatures are of the host that was asked for, so it
// passes that on.
func (g *VersityGW) listen(ctx context.Context) error {
	g.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", "versitygw" },
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", g.socket())
			},
			DisableCompression: true, DisableKeepAlives: true,
		},
		ErrorLog: log.New(&tailWriter{limit: tail}, "", 0), // clients that go away are no news
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	g.URL = "http://" + l.Addr().String()
	g.server = &http.Server{Handler: g, ReadHeaderTimeout: time.Minute}
	go func() { g.served <- g.server.Serve(l) }()
	return nil
}

// ServeHTTP passes a request on.
func (g *VersityGW) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	g.requests = append(g.requests, r.Method+" "+r.RequestURI)
	g.mu.Unlock()
	g.proxy.ServeHTTP(w, r)
}

// Requests returns what was asked for over the proxy since the last time that
// this was asked: method, path and query.
func (g *VersityGW) Requests() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := g.requests
	g.requests = nil
	return all
}

// Curl sends a request with curl, an S3 client of its own kind, and returns the
// answer's body. target is the path and the query, both escaped.
func (g *VersityGW) Curl(ctx context.Context, target string, args ...string) (string, error) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		return "", err
	}
	r, err := Program{Path: curl, Args: slices.Concat(g.curlArgs(), args, []string{"http://versitygw" + target})}.Run(ctx)
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, r.Stdout)
	}
	return r.Stdout, nil
}

// PutAll uploads the same file under many keys of a bucket, with one curl.
func (g *VersityGW) PutAll(ctx context.Context, bucket, file string, keys []string) error {
	curl, err := exec.LookPath("curl")
	if err != nil {
		return err
	}
	var config strings.Builder
	for _, key := range keys {
		fmt.Fprintf(&config, "upload-file = %q\nurl = %q\n", file, "http://versitygw/"+bucket+"/"+key)
	}
	_, err = Program{Path: curl, Args: append(g.curlArgs(), "--config", "-"), Stdin: strings.NewReader(config.String())}.Run(ctx)
	return err
}

// curlArgs are the arguments of every curl.
func (g *VersityGW) curlArgs() []string {
	return []string{
		"-sS", "--fail-with-body", "--unix-socket", g.socket(), "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", S3AccessKey + ":" + S3SecretKey,
		"-H", "X-Amz-Content-Sha256: UNSIGNED-PAYLOAD", "-H", "Expect:",
	}
}

// Config returns a configuration of a node that has it as the endpoint of an
// alias; more are lines of the same table.
func (g *VersityGW) Config(alias string, more ...string) string {
	lines := []string{
		"[s3." + alias + "]", fmt.Sprintf("endpoint = %q", g.URL),
		fmt.Sprintf("access_key = %q", S3AccessKey), fmt.Sprintf("secret_key = %q", S3SecretKey),
	}
	return strings.Join(append(lines, more...), "\n") + "\n"
}

// Stop ends both and removes the data.
func (g *VersityGW) Stop() error {
	var errs []error
	if g.server != nil {
		errs = append(errs, g.server.Close())
		if err := <-g.served; !errors.Is(err, http.ErrServerClosed) {
			errs = append(errs, err)
		}
	}
	if g.proc != nil {
		errs = append(errs, g.proc.stop())
	}
	return errors.Join(append(errs, os.RemoveAll(g.dir))...)
}
