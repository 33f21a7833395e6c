package hub_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hypha-node/hypha-node/api/hub"
	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/blockstore/memo"
	"github.com/hypha-node/hypha-node/connectors/hf"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/internal/hubtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	largeSize = 5<<20 + 3
	reader    = "hf_reader"   // a token that may read everything
	other     = "hf_stranger" // one that may read what is public
)

// repos is what the upstream has.
func repos() []hubtest.Repo {
	secret := map[string]hubtest.Content{"weights.bin": hubtest.Random(4, largeSize), "config.json": hubtest.Bytes([]byte("{}"))}
	return []hubtest.Repo{
		{ID: "org/model", Files: map[string]hubtest.Content{
			"config.json":          hubtest.Bytes([]byte(`{"layers":2}`)),
			"empty.txt":            hubtest.Bytes(nil),
			"sub/large.bin":        hubtest.Random(1, largeSize),
			"sub/small.bin":        hubtest.Random(2, 1000),
			"with space/ünï+&.txt": hubtest.Bytes([]byte("quoted")),
		}},
		{ID: "plain", Files: map[string]hubtest.Content{"a.txt": hubtest.Bytes([]byte("a"))}},
		{Type: "dataset", ID: "org/data", Files: map[string]hubtest.Content{"train.csv": hubtest.Random(3, 2<<20)}},
		{Type: "space", ID: "org/space", Files: map[string]hubtest.Content{"app.py": hubtest.Bytes([]byte("print()"))}},
		{ID: "org/gated", Gated: "auto", Readers: []string{"reader"}, Files: secret},
		{ID: "org/private", Private: true, Readers: []string{"reader"}, Files: secret},
	}
}

// rig is a façade over a store, and the hub behind it.
type rig struct {
	t      testing.TB
	up     *hubtest.Hub
	down   bool // the hub is stopped
	store  *blockstore.Disk
	engine *ingest.Engine
	server *hub.Server
	web    *httptest.Server
	client http.Client
}

// start starts a hub and a façade; change may change its configuration.
func start(t testing.TB, change func(*hub.Config)) *rig {
	t.Helper()
	return startOver(t, false, change)
}

// startOver is start over a hub that may offer its files by Xet.
func startOver(t testing.TB, xet bool, change func(*hub.Config)) *rig {
	t.Helper()
	up, err := hubtest.New(hubtest.Config{
		PageSize: 2, Repos: repos(), Xet: xet,
		Tokens: map[string]hubtest.User{reader: {Name: "reader"}, other: {Name: "stranger"}},
	})
	must(t, err)
	must(t, up.Start())
	r := &rig{t: t, up: up}
	t.Cleanup(r.stopHub)
	r.store, err = blockstore.Open(t.Context(), t.TempDir(), blockstore.Options{Reserve: -1})
	must(t, err)
	t.Cleanup(func() { must(t, r.store.Close()) })
	r.open(up.URL, change)
	return r
}

// open opens a façade over the store.
func (r *rig) open(endpoint string, change func(*hub.Config)) {
	t := r.t
	client := httpconn.NewClient(httpconn.Config{Retries: -1, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	t.Cleanup(client.Close)
	engine := ingest.New(ingest.Config{Store: r.store})
	cfg := hub.Config{
		Hub: hf.New(hf.Config{Endpoint: endpoint, Client: client, Token: "the-node's-own"}), Client: client,
		Engine: engine, Store: r.store, Memo: memo.New(r.store.Records("hub"), slog.New(slog.DiscardHandler)),
	}
	if change != nil {
		change(&cfg)
	}
	server := hub.New(cfg)
	web := httptest.NewServer(server)
	r.engine, r.server, r.web = engine, server, web
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		web.CloseClientConnections()
		web.Close()
		must(t, server.Close())
		must(t, engine.Close())
	})
}

// stopHub stops the hub: the façade is alone.
func (r *rig) stopHub() {
	if !r.down {
		r.down = true
		must(r.t, r.up.Close())
	}
}

// reply is an answer with its body.
type reply struct {
	status int
	header http.Header
	body   []byte
	err    error // of the body
}

// do sends a request: "METHOD /path", with header fields "Name: value".
func (r *rig) do(request string, fields ...string) reply {
	r.t.Helper()
	resp := r.open1(r.t.Context(), request, fields...)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, body, err}
}

// open1 sends a request and returns when the answer begins.
func (r *rig) open1(ctx context.Context, request string, fields ...string) *http.Response {
	r.t.Helper()
	method, path, _ := strings.Cut(request, " ")
	var body io.Reader
	if path0, text, ok := strings.Cut(path, " "); ok {
		path, body = path0, strings.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.web.URL+path, body)
	must(r.t, err)
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		req.Header.Set(name, value)
	}
	resp, err := r.client.Do(req)
	must(r.t, err)
	return resp
}

// token returns the header field of a token.
func token(s string) string { return "Authorization: Bearer " + s }

// raw sends bytes and returns what comes back until the end.
func (r *rig) raw(text string) string {
	r.t.Helper()
	var d net.Dialer
	conn, err := d.DialContext(r.t.Context(), "tcp", strings.TrimPrefix(r.web.URL, "http://"))
	must(r.t, err)
	defer conn.Close()
	_, err = conn.Write([]byte(text))
	must(r.t, err)
	must(r.t, conn.SetReadDeadline(time.Now().Add(time.Minute)))
	b, err := io.ReadAll(conn)
	must(r.t, err)
	return string(b)
}

// bytesOf returns a content.
func bytesOf(t *testing.T, c hubtest.Content) []byte {
	t.Helper()
	f, err := c.Open()
	must(t, err)
	b, err := io.ReadAll(f)
	must(t, errors.Join(err, f.Close()))
	return b
}

// downloads returns how many requests the CDN had.
func (r *rig) downloads() (n int) {
	for _, q := range r.up.Requests() {
		if q.CDN {
			n++
		}
	}
	return n
}

// want checks an answer.
func (a reply) want(t *testing.T, what string, status int, body []byte) {
	t.Helper()
	if a.status != status || a.err != nil || body != nil && !bytes.Equal(a.body, body) {
		t.Errorf("%s: status %d, %d bytes, %v (%s), want %d and %d bytes", what, a.status, len(a.body), a.err, a.header.Get("X-Error-Message"), status, len(body))
	}
}

// wantFailed checks that an answer is no content: it is cut or, where nothing was
// sent when it failed, an error. It tells which.
func (a reply) wantFailed(t *testing.T, what string) (cut bool) {
	t.Helper()
	cut = errors.Is(a.err, io.ErrUnexpectedEOF) && a.status < 300
	if !cut && (a.status != 502 || a.err != nil) {
		t.Errorf("%s: status %d, %d bytes, %v, want an answer that is cut, or 502", what, a.status, len(a.body), a.err)
	}
	return cut
}

// wantHeader checks header fields: "Name: value".
func (a reply) wantHeader(t *testing.T, what string, fields ...string) {
	t.Helper()
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		if got := strings.Join(a.header.Values(name), "|"); got != strings.TrimSuffix(value, "-") && value != "-" || value == "-" && got != "" {
			t.Errorf("%s: %s is %q, want %q", what, name, got, value)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
