package httpconn_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
)

// requests are what an origin was asked.
type requests struct {
	mu  sync.Mutex
	all []*http.Request
}

// add notes a request and returns its number, from 0 on.
func (r *requests) add(req *http.Request) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, req)
	return len(r.all) - 1
}

// list returns the requests so far.
func (r *requests) list() []*http.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.all)
}

// count returns how many there were.
func (r *requests) count() int { return len(r.list()) }

// serve runs an origin; handle gets the number of the request, from 0 on.
func serve(t *testing.T, handle func(n int, w http.ResponseWriter, r *http.Request)) (base string, log *requests) {
	t.Helper()
	log = &requests{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handle(log.add(r), w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL, log
}

// raw runs an origin that answers each connection's one request with bytes as
// they are, then closes the connection.
func raw(t *testing.T, handle func(n int, r *http.Request, w io.Writer)) (base string, log *requests) {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log = &requests{}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer func() { _ = conn.Close() }()
				req, err := http.ReadRequest(bufio.NewReader(conn))
				if err != nil {
					return
				}
				handle(log.add(req), req, conn)
				// Linger until the client has read all and gone: a close with
				// unread input would reset the connection.
				if tcp, ok := conn.(*net.TCPConn); ok {
					_ = tcp.CloseWrite()
					_, _ = io.Copy(io.Discard, tcp)
				}
			})
		}
	})
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		running.Wait()
	})
	return "http://" + l.Addr().String(), log
}

// answer returns an answer as it goes over the wire.
func answer(status string, body string, fields ...string) string {
	text := "HTTP/1.1 " + status + "\r\n"
	for _, f := range fields {
		text += f + "\r\n"
	}
	return text + "\r\n" + body
}

// cut closes the connection of a request in the middle of its answer, after
// what was written has been sent.
func cut(w http.ResponseWriter) {
	control := http.NewResponseController(w)
	_ = control.Flush()
	if conn, _, err := control.Hijack(); err == nil {
		_ = conn.Close()
	}
}

// read opens a range of a target and reads it to its end.
func read(ctx context.Context, c *httpconn.Client, target httpconn.Target, off, n int64) ([]byte, *connectors.Body, error) {
	target.Operator = true
	if target.Size == 0 {
		target.Size = -1
	}
	body, err := c.Open(ctx, target, off, n, nil)
	if err != nil {
		return nil, nil, err
	}
	got, err := io.ReadAll(body)
	if cerr := body.Close(); cerr != nil {
		err = cerr
	}
	return got, body, err
}

// newClient returns a client that retries fast, and is closed at the end.
func newClient(t *testing.T, cfg httpconn.Config) *httpconn.Client {
	t.Helper()
	return newConnector(t, cfg).Client()
}

// bubble runs a test with a client and an origin in a synctest bubble: they
// talk through pipes in memory, and time passes only when nobody has to do
// anything.
func bubble(t *testing.T, cfg httpconn.Config, handle func(n int, w http.ResponseWriter, r *http.Request), test func(t *testing.T, c *httpconn.Client, log *requests)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log := &requests{}
		l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		server := &http.Server{
			Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handle(log.add(r), w, r) }),
			ReadHeaderTimeout: time.Hour,
		}
		var running sync.WaitGroup
		running.Go(func() { _ = server.Serve(l) })
		client := httpconn.NewClient(cfg)
		client.UseDial(l.dial)
		test(t, client, log)
		client.Close()
		if err := server.Close(); err != nil {
			t.Error(err)
		}
		running.Wait()
	})
}

// pipes is a listener whose connections are made in memory.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// dial connects to whoever accepts.
func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	mine, theirs := net.Pipe()
	select {
	case p.conns <- theirs:
		return mine, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept waits for a connection.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (p *pipes) Close() error { p.once.Do(func() { close(p.closed) }); return nil }

// Addr returns an address.
func (p *pipes) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// rangeOf returns the first byte that a request asks for.
func rangeOf(r *http.Request) int {
	var start int
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &start); err != nil {
		return 0
	}
	return start
}
