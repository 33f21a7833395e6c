package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/hypha-node/hypha-node/bridge"
)

// Config says what a Handler serves and how much of it; zero fields have the
// documented values.
type Config struct {
	Job    Resources // must be set
	Logger *slog.Logger
	// Caller says whether a process may use the socket, by an error why not: its
	// requests are answered with 403 and a line in the log then. It is asked once
	// a connection. nil: every process that Listen lets in may.
	Caller func(Caller) error

	MaxConns      int           // open connections of one socket, and requests under way; 0: 2048
	HeaderTimeout time.Duration // for the header of a request; 0: 10 s
	BodyTimeout   time.Duration // for a whole request body; 0: 30 s
	SendTimeout   time.Duration // for a client to take 64 KiB of an answer; 0: 1 min
	EventTimeout  time.Duration // for a client to take one event: it may compute between two; 0: 1 h
	KeepAlive     time.Duration // between two signs of life in a stream; 0: 5 s
	Grace         time.Duration // for requests under way when Serve ends; 0: 2 s
}

// Handler serves the bridge of one job. It is safe for concurrent use.
type Handler struct {
	res     Resources
	log     *slog.Logger
	conf    Config
	routes  http.Handler
	bigBody chan struct{} // slots for bodies above smallBody
	served  atomic.Int64  // requests: the next one's id
	now     atomic.Int64  // requests under way
}

// New returns the handler of a job.
func New(c Config) *Handler {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.MaxConns <= 0 {
		c.MaxConns = 2048 // a thousand leaky clients fit; a connection costs about 46 KiB
	}
	c.HeaderTimeout = orDefault(c.HeaderTimeout, 10*time.Second)
	c.EventTimeout = orDefault(c.EventTimeout, time.Hour)
	c.KeepAlive = orDefault(c.KeepAlive, 5*time.Second)
	c.BodyTimeout = orDefault(c.BodyTimeout, 30*time.Second)
	c.SendTimeout = orDefault(c.SendTimeout, time.Minute)
	c.Grace = orDefault(c.Grace, 2*time.Second)
	h := &Handler{res: c.Job, log: c.Logger, conf: c, bigBody: make(chan struct{}, bigBodies)}
	h.routes = h.mux()
	return h
}

// orDefault returns d, or def when d is not set.
func orDefault(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := strconv.FormatInt(h.served.Add(1), 10)
	r = r.WithContext(context.WithValue(r.Context(), requestKey{}, id))
	w.Header().Set("X-Request-Id", id)
	// The connection may carry deadlines of the request before this one.
	ctl := http.NewResponseController(w)
	err := deadline(ctl.SetWriteDeadline, 0)
	if r.ContentLength != 0 { // also while a body that nobody wants is thrown away
		err = errors.Join(err, deadline(ctl.SetReadDeadline, h.conf.BodyTimeout))
	}
	if err != nil {
		h.log.Debug("connection lost", attrs(r, err)...)
		return
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if err := refusal(r); err != nil {
		h.fail(w, r, err)
		return
	}
	defer h.now.Add(-1)
	if h.now.Add(1) > int64(h.conf.MaxConns) { // many on one HTTP/2 connection
		h.fail(w, r, errCrowd)
		return
	}
	h.routes.ServeHTTP(w, r)
}

// requestKey is the key of a request's id in its context.
type requestKey struct{}

// requestID returns the id of a request, which is in its answer and in the log:
// its number, counted from 1.
func requestID(ctx context.Context) string {
	if id, ok := ctx.Value(requestKey{}).(string); ok {
		return id
	}
	return ""
}

// deadline sets a deadline d from now, or none when d is 0. A response writer
// that is no connection has none and needs none.
func deadline(set func(time.Time) error, d time.Duration) error {
	var at time.Time
	if d > 0 {
		at = time.Now().Add(d)
	}
	if err := set(at); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	return nil
}

// Serve answers the connections of l until ctx ends, and closes l. Requests
// that are under way then have Grace to finish; after that their work is
// cancelled and they are answered with shutting_down. It returns nil after such
// an end, and when everything it started has ended.
func (h *Handler) Serve(ctx context.Context, l net.Listener) error {
	base, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: h.conf.HeaderTimeout, // a slow header holds a connection, nothing else
		// Clients keep connections until their garbage collector runs; closing
		// an idle one earlier than they expect fails their next request.
		IdleTimeout:    10 * time.Minute,
		MaxHeaderBytes: 64 << 10,
		ErrorLog:       slog.NewLogLogger(h.log.Handler(), slog.LevelDebug),
		BaseContext:    func(net.Listener) context.Context { return base },
		ConnContext:    h.judgeCaller,
		Protocols:      protocols(),
		HTTP2: &http.HTTP2Config{ // a connection may hold about what one of HTTP/1.1 does
			MaxConcurrentStreams:          100,
			MaxReceiveBufferPerConnection: 128 << 10,
			MaxReceiveBufferPerStream:     64 << 10,
		},
	}
	if h.conf.Caller != nil {
		l = everyone(l)
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(limitConns(l, h.conf.MaxConns)) }()
	var err error
	select {
	case err = <-ended: // the listener failed
		ended <- err
	case <-ctx.Done():
	}
	err = errors.Join(h.shutdown(ctx, srv, cancel), <-ended)
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// protocols are HTTP/1.1 and, with prior knowledge, HTTP/2 without TLS, which
// the original takes as well.
func protocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	return p
}

// shutdown ends srv in two steps: with Grace for what is under way, then by
// cancelling it.
func (h *Handler) shutdown(ctx context.Context, srv *http.Server, cancel context.CancelCauseFunc) error {
	ctx = context.WithoutCancel(ctx)
	grace, stop := context.WithTimeout(ctx, h.conf.Grace)
	defer stop()
	if srv.Shutdown(grace) == nil {
		return nil
	}
	cancel(bridge.ErrClosed)
	last, stopLast := context.WithTimeout(ctx, 10*time.Second) // cancelled work ends within the time of one read
	defer stopLast()
	if err := srv.Shutdown(last); err != nil {
		return errors.Join(fmt.Errorf("requests did not end: %w", err), srv.Close())
	}
	return nil
}

// errGone says that the client did not take the answer.
var errGone = errors.New("client gone")

// sent marks a failed write of an answer, after which nothing can be said.
func sent(err error) error {
	if err != nil {
		return fmt.Errorf("%w: %w", errGone, err)
	}
	return nil
}

// reply answers v as JSON. Names are not HTML: nothing is escaped for it.
func (h *Handler) reply(w http.ResponseWriter, status int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(h.deadlined(w))
	enc.SetEscapeHTML(false)
	return sent(enc.Encode(v))
}

// deadlined returns a writer whose every 64 KiB must be taken in SendTimeout: a
// client that does not read can't hold an answer for ever, one that reads
// slowly gets it all. (A WriteTimeout of the server would end long fetches.)
func (h *Handler) deadlined(w http.ResponseWriter) io.Writer {
	return &deadlineWriter{w: w, ctl: http.NewResponseController(w), each: h.conf.SendTimeout}
}

type deadlineWriter struct {
	w    io.Writer
	ctl  *http.ResponseController
	each time.Duration
}

func (d *deadlineWriter) Write(p []byte) (n int, err error) {
	const chunk = 64 << 10 // bytes
	for n < len(p) && err == nil {
		if err := deadline(d.ctl.SetWriteDeadline, d.each); err != nil {
			return n, err
		}
		var m int
		m, err = d.w.Write(p[n:min(n+chunk, len(p))])
		n += m
	}
	return n, err
}

// attrs are the log attributes of a request; the path is quoted by slog.
func attrs(r *http.Request, err error) []any {
	return []any{slog.String("request", requestID(r.Context())), slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Any("err", err)}
}
