package rig

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// Config says how a node is started. The zero value of all but Binary and Repo
// works: one random TCP port on loopback, and jobs may fetch from loopback.
type Config struct {
	Binary string
	Repo   string
	Args   []string // more flags for daemon
	Env    []string // "K=V"
	Listen string   // multiaddr; "" means /ip4/127.0.0.1/tcp/0
}

// Node is a running daemon of the real binary.
type Node struct {
	Binary  string
	Repo    string
	Ready   string        // the line that said so
	ReadyIn time.Duration // from the start of the process to that line
	env     []string
	proc    *daemon
}

// StartNode starts a daemon and returns when it has said that it is ready.
func StartNode(ctx context.Context, cfg Config) (*Node, error) {
	listen := cfg.Listen
	if listen == "" {
		listen = "/ip4/127.0.0.1/tcp/0"
	}
	args := append([]string{"--repo", cfg.Repo, "daemon", "--listen", listen, "--http-allow", "127.0.0.0/8"}, cfg.Args...)
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	proc, err := startDaemon(ctx, Program{Path: cfg.Binary, Args: args, Env: cfg.Env, Stdout: write})
	if err != nil {
		return nil, errors.Join(err, read.Close(), write.Close())
	}
	if err := write.Close(); err != nil { // the child has its own
		return nil, errors.Join(err, proc.kill(), read.Close())
	}
	n := &Node{Binary: cfg.Binary, Repo: cfg.Repo, env: cfg.Env, proc: proc}
	ready := make(chan string, 1)
	go func() { // ends at the end of the pipe, that is of the process
		defer read.Close()
		lines := bufio.NewScanner(read)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "daemon ready") {
				ready <- lines.Text()
				break
			}
		}
		if _, err := io.Copy(io.Discard, read); err != nil {
			return
		}
	}()
	patience := time.NewTimer(60 * time.Second)
	defer patience.Stop()
	select {
	case n.Ready = <-ready:
		n.ReadyIn = time.Since(begin)
		return n, nil
	case <-proc.done:
		return nil, fmt.Errorf("daemon ended before it was ready: %w: %s", proc.err, proc.stderr)
	case <-patience.C:
		return nil, errors.Join(fmt.Errorf("daemon not ready after 60 s: %s", proc.stderr), proc.kill())
	case <-ctx.Done():
		return nil, errors.Join(ctx.Err(), proc.kill())
	}
}

// PID is the daemon's process id.
func (n *Node) PID() int { return n.proc.cmd.Process.Pid }

// Stop ends the daemon with SIGTERM; anything but exit code 0 is an error.
func (n *Node) Stop() error { return n.proc.stop() }

// Kill ends the daemon with SIGKILL and waits until it is gone.
func (n *Node) Kill() error { return n.proc.kill() }

// Ended is closed when the process is gone.
func (n *Node) Ended() <-chan struct{} { return n.proc.done }

// Log is the end of the daemon's standard error; valid after it has ended.
func (n *Node) Log() string { return n.proc.stderr.String() }

// Program is a command that speaks to this node.
func (n *Node) Program(args ...string) Program {
	return Program{Path: n.Binary, Args: append([]string{"--repo", n.Repo}, args...), Env: n.env}
}

// Run runs a command against this node.
func (n *Node) Run(ctx context.Context, args ...string) (Result, error) {
	return n.Program(args...).Run(ctx)
}

// Address returns the node's first multiaddr that ends in its peer id.
func (n *Node) Address(ctx context.Context) (string, error) {
	r, err := n.Run(ctx, "id", "--json")
	if err != nil {
		return "", err
	}
	var id struct {
		PeerID    string   `json:"peer_id"`
		Addresses []string `json:"addresses"`
	}
	if err := json.Unmarshal([]byte(r.Stdout), &id); err != nil {
		return "", fmt.Errorf("id --json: %w", err)
	}
	for _, a := range id.Addresses {
		if strings.HasPrefix(a, "/ip4/127.0.0.1/") && strings.HasSuffix(a, "/p2p/"+id.PeerID) {
			return a, nil
		}
	}
	return "", fmt.Errorf("id --json: no loopback address with /p2p/%s in %q", id.PeerID, id.Addresses)
}

// Job is what job create printed.
type Job struct {
	ID      string `json:"id"`
	Socket  string `json:"socket"`
	WorkDir string `json:"work_dir"`
}

// CreateJob creates a job.
func (n *Node) CreateJob(ctx context.Context) (Job, error) {
	r, err := n.Run(ctx, "job", "create", "--json")
	if err != nil {
		return Job{}, err
	}
	var job Job
	if err := json.Unmarshal([]byte(r.Stdout), &job); err != nil {
		return Job{}, fmt.Errorf("job create --json: %w", err)
	}
	return job, nil
}

// Fetched is one element of the bridge's answer to a fetch.
type Fetched struct {
	Path     string `json:"path"`
	Size     int64  `json:"size"`
	Checksum string `json:"checksum"`
	CID      string `json:"cid"`
	Metadata struct {
		Source    string `json:"source"`
		From      string `json:"from"`
		Transport string `json:"transport"`
	} `json:"metadata"`
}

// Refused is an answer of the bridge other than 200.
type Refused struct {
	Status int
	Code   string `json:"error"`
	Detail string `json:"detail"`
}

// Error returns status, code and detail.
func (r *Refused) Error() string {
	return fmt.Sprintf("bridge answers %d %s: %s", r.Status, r.Code, r.Detail)
}

// Fetch asks the job's socket for a reference, as an executor would. Another
// answer than 200 is a *Refused.
func (j Job) Fetch(ctx context.Context, ref any) ([]Fetched, error) {
	return j.Post(ctx, map[string]any{"fetch": ref})
}

// Post posts a body, as JSON, to /resources/fetch.
func (j Job) Post(ctx context.Context, body any) ([]Fetched, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return j.PostRaw(ctx, bytes.NewReader(text))
}

// PostRaw posts whatever body holds to /resources/fetch.
func (j Job) PostRaw(ctx context.Context, body io.Reader) ([]Fetched, error) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", j.Socket)
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://hypha/resources/fetch", body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		refused := &Refused{Status: resp.StatusCode}
		if err := json.Unmarshal(answer, refused); err != nil {
			return nil, fmt.Errorf("bridge answers %d without a JSON error: %q", resp.StatusCode, answer)
		}
		return nil, refused
	}
	var fetched []Fetched
	if err := json.Unmarshal(answer, &fetched); err != nil {
		return nil, fmt.Errorf("bridge's answer: %w: %q", err, answer)
	}
	return fetched, nil
}

// URI is the reference of a URL, in the form that jobs send.
func URI(url string) map[string]any {
	return map[string]any{"type": "uri", "value": url}
}
