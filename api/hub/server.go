package hub

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/blockstore/memo"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/hf"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
	"github.com/hypha-node/hypha-node/connectors/ingest"
)

// Defaults of Config.
const (
	// defaultFresh is how long a branch is taken to stand still: the files of one
	// snapshot are asked for by its name within seconds.
	defaultFresh = 10 * time.Second
	// defaultLinger is how long a download goes on without its client: they
	// give up after ten seconds of silence, and come back.
	defaultLinger = time.Minute
	// defaultPatience is how long a client may take nothing.
	defaultPatience = 2 * time.Minute
)

// maxRequests is how many requests are served at once.
const maxRequests = 128

// ErrClosed says that the server is ending.
var ErrClosed = errors.New("the node is shutting down")

// Config is what a Server works with. What has no default is required.
type Config struct {
	Hub     *hf.Connector    // says where the upstream is, and makes items
	Client  *httpconn.Client // asks it for metadata
	Engine  *ingest.Engine
	Store   blockstore.Store
	Memo    *memo.Table // what is remembered; nil: nothing
	Offline bool        // ask nobody

	Fresh    time.Duration    // how long an answer about a branch is good; 0 means 10 s
	Linger   time.Duration    // how long a download goes on when its clients have gone; 0 means 1 min, negative not at all
	Patience time.Duration    // how long a client may take nothing; 0 means 2 min
	Now      func() time.Time // nil: time.Now
	Logger   *slog.Logger     // nil: silent
}

// Server is the handler of the façade. It is safe for concurrent use.
type Server struct {
	cfg    Config
	name   string // in Via
	asking singleflight.Group
	slots  chan struct{} // answers that are being read
	spoilt spoilt
	peeks  peeks

	// join returns the context of something that goes on when its request has
	// ended, but not when the server has.
	join  func(context.Context) (context.Context, context.CancelFunc)
	close context.CancelCauseFunc

	mu      sync.Mutex
	closed  bool
	serving int            // requests
	running sync.WaitGroup // requests and downloads
}

// New returns the handler. It starts nothing; Close it before the engine.
func New(c Config) *Server {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	for _, d := range []struct {
		into *time.Duration
		def  time.Duration
	}{{&c.Fresh, defaultFresh}, {&c.Linger, defaultLinger}, {&c.Patience, defaultPatience}} {
		if *d.into == 0 {
			*d.into = d.def
		}
	}
	s := &Server{cfg: c, name: product + rand.Text()[:12], slots: make(chan struct{}, maxAsked)}
	ctx, cancel := context.WithCancelCause(context.Background())
	s.close = cancel
	s.join = func(request context.Context) (context.Context, context.CancelFunc) {
		joined, cancel := context.WithCancelCause(context.WithoutCancel(request))
		stop := context.AfterFunc(ctx, func() { cancel(ErrClosed) })
		return joined, func() { stop(); cancel(context.Canceled) }
	}
	return s
}

// Close ends all requests and downloads and waits for them.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.close(ErrClosed)
	s.running.Wait()
	return nil
}

// enter counts a request in, unless the server is closed or has enough of them.
func (s *Server) enter(w http.ResponseWriter, r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		refuse(w, r, http.StatusServiceUnavailable, "", ErrClosed.Error())
		return false
	case s.serving >= maxRequests:
		w.Header().Set("Retry-After", "1")
		refuse(w, r, http.StatusServiceUnavailable, "", "too many requests at once")
		return false
	}
	s.serving++
	s.running.Add(1)
	return true
}

// leave counts a request out.
func (s *Server) leave() {
	s.mu.Lock()
	s.serving--
	s.mu.Unlock()
	s.running.Done()
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.enter(w, r) {
		return
	}
	defer s.leave()
	start := s.cfg.Now()
	ctx, cancel := context.WithCancel(withVia(r.Context(), r))
	defer cancel()
	out := &client{ResponseWriter: w, control: http.NewResponseController(w), patience: s.cfg.Patience}
	s.route(out, r.WithContext(ctx))
	err := out.finish() // the connection has failed: so much for this client
	s.cfg.Logger.DebugContext(ctx, "hub served", slog.Any("error", err), slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Duration("took", s.cfg.Now().Sub(start)))
}

// route finds out what a request is for.
func (s *Server) route(w *client, r *http.Request) {
	if loops(r.Header, s.name) {
		refuse(w, r, http.StatusLoopDetected, "", "this request has been here before: the upstream hub ("+s.cfg.Hub.Endpoint()+") leads back to this one; set hf_endpoint to another")
		return
	}
	token, ok := tokenOf(r)
	if !ok {
		refuse(w, r, http.StatusUnauthorized, "", "Invalid credentials in Authorization header")
		return
	}
	if len(r.URL.RawQuery) > maxQuery {
		refuse(w, r, http.StatusRequestURITooLong, "", errBadQuery.Error())
		return
	}
	path := r.URL.EscapedPath()
	if path == "/api/whoami-v2" {
		s.whoami(w, r, token)
		return
	}
	t, err := parseTarget(path)
	switch {
	case errors.Is(err, errNoRoute):
		refuse(w, r, http.StatusNotFound, "", err.Error())
	case err != nil:
		refuse(w, r, http.StatusBadRequest, "", err.Error())
	case t.route == routeResolve, t.route == routeRaw:
		s.resolve(w, r, t, token)
	default:
		s.meta(w, r, t, token)
	}
}

// tokenOf returns the token of a request, "" if it has none. It is false if there
// is a credential of another kind.
func tokenOf(r *http.Request) (connectors.Secret, bool) {
	field := strings.TrimSpace(r.Header.Get("Authorization"))
	if field == "" {
		return "", true
	}
	scheme, token, _ := strings.Cut(field, " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || len(token) > 4<<10 {
		return "", false
	}
	return connectors.Secret(token), true
}

// allow tells whether a request has one of the methods, and answers it if not.
func allow(w http.ResponseWriter, r *http.Request, methods ...string) bool {
	if slices.Contains(methods, r.Method) {
		return true
	}
	w.Header().Set("Allow", strings.Join(methods, ", "))
	refuse(w, r, http.StatusMethodNotAllowed, "", "this hub is for reading")
	return false
}

// baseOf returns how the client of a request reaches this server.
func baseOf(r *http.Request) string { return "http://" + r.Host }

// unreachable answers when the upstream could not be asked.
func (s *Server) unreachable(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusBadGateway
	switch {
	case errors.Is(err, ErrClosed):
		status = http.StatusServiceUnavailable
	case errors.Is(err, errOffline), errors.Is(err, context.DeadlineExceeded):
		status = http.StatusGatewayTimeout
	case errors.Is(err, connectors.ErrForbidden):
		status = http.StatusForbidden
	case r.Context().Err() != nil:
		return // nobody listens
	}
	refuse(w, r, status, "", fmt.Sprintf("the upstream hub %s: %v", s.cfg.Hub.Endpoint(), err))
}

// wrongAnswer returns the error of an upstream that makes no sense.
func wrongAnswer(problem string) error { return fmt.Errorf("%w: %s", connectors.ErrUpstream, problem) }
