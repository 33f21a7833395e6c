package hubtest

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Config says what the hub has. The zero value is an empty hub.
type Config struct {
	Repos   []Repo
	Tokens  map[string]User   // bearer tokens that are accepted
	Renames map[string]string // former repository id → present one; type models only

	Xet       bool          // large files are offered by Xet, too
	XetV1     bool          // its storage knows no version 2 of reconstructions
	TokenLife time.Duration // life of a token of that storage; 0 means an hour

	PageSize int              // entries of a tree page; 0 means 1000
	LinkLife time.Duration    // life of a signed CDN URL; 0 means an hour
	Quota    int              // requests of a window of 300 s before 429, per kind; 0 means no limit
	Now      func() time.Time // nil means time.Now
	Addr     string           // where Start listens; "" means 127.0.0.1:0
}

// Repo is a repository; its files are the first commit of the branch main.
type Repo struct {
	Type     string // "model" (also ""), "dataset" or "space"
	ID       string // "owner/name" or "name"
	Private  bool   // only those who are in Readers see it
	Gated    string // "", "auto" or "manual": files go to Readers only
	Disabled bool
	Readers  []string // names of users
	Files    map[string]Content
	// LFS tells which files are large files, that come from the CDN; nil means
	// those of 1 MiB and more and the usual suffixes of weights.
	LFS func(path string, size int64) bool
	// Direct lists files that are answered with 200 at once (the third of the
	// shapes that the true Hub has).
	Direct []string
}

// User is somebody who has a token.
type User struct {
	Name string
}

// Hub is the stand-in; it is an http.Handler for the hub's own origin. Start
// runs it and its CDN; Close ends both.
type Hub struct {
	URL    string // "http://127.0.0.1:PORT" after Start
	CDNURL string
	CASURL string // of the Xet storage, if there is one

	cfg    Config
	secret []byte // signs CDN URLs
	closed chan struct{}

	mu     sync.Mutex
	repos  map[string]*repo // by type and id
	xorbs  map[string]*xorb // that a URL was signed for, by hash
	log    []Request
	faults []*planted
	used   map[string]int // requests of the present window, by kind
	window time.Time      // its start

	servers []*http.Server
	running sync.WaitGroup
}

// New returns a hub that is not running; its CDN has no address before Start,
// or before CDNURL is set by who serves CDN.
func New(cfg Config) (*Hub, error) {
	cfg.PageSize = cmp.Or(cfg.PageSize, 1000)
	cfg.LinkLife = cmp.Or(cfg.LinkLife, time.Hour)
	cfg.TokenLife = cmp.Or(cfg.TokenLife, time.Hour)
	cfg.Addr = cmp.Or(cfg.Addr, "127.0.0.1:0")
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	h := &Hub{cfg: cfg, closed: make(chan struct{}), repos: map[string]*repo{}, xorbs: map[string]*xorb{}, used: map[string]int{}}
	h.secret = []byte(rand.Text())
	for _, r := range cfg.Repos {
		added := newRepo(r)
		if _, err := added.commit(r.Files); err != nil {
			return nil, err
		}
		h.repos[added.Type+"/"+r.ID] = added
	}
	return h, nil
}

// Start listens on loopback and serves the hub, its CDN and its Xet storage, each
// at an origin of its own, until Close.
func (h *Hub) Start() error {
	for _, s := range []struct {
		url     *string
		handler http.Handler
		addr    string
	}{{&h.URL, h, h.cfg.Addr}, {&h.CDNURL, h.CDN(), "127.0.0.1:0"}, {&h.CASURL, h.CAS(), "127.0.0.1:0"}} {
		var lc net.ListenConfig
		l, err := lc.Listen(context.Background(), "tcp", s.addr)
		if err != nil {
			return errors.Join(err, h.Close())
		}
		*s.url = "http://" + l.Addr().String()
		server := &http.Server{Handler: s.handler, ReadHeaderTimeout: time.Minute}
		h.servers = append(h.servers, server)
		h.running.Go(func() {
			// It ends when it is closed; Close reports what there is to report.
			_ = server.Serve(l)
		})
	}
	return nil
}

// Close ends the servers and waits for them. It may be called once.
func (h *Hub) Close() error {
	close(h.closed)
	var errs []error
	for _, s := range h.servers {
		errs = append(errs, s.Close())
	}
	h.running.Wait()
	return errors.Join(errs...)
}

// Commit adds files to the branch main of a repository ("model/owner/name") and
// returns the new commit.
func (h *Hub) Commit(repository string, files map[string]Content) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.repos[repository]
	if r == nil {
		return "", errors.New("no repository " + repository)
	}
	all := maps.Clone(r.head().files)
	changed := map[string]Content{}
	for path, f := range all {
		changed[path] = f.content
	}
	maps.Copy(changed, files)
	return r.commit(changed)
}

// Head returns the newest commit of a repository ("model/owner/name"), "" if
// there is none.
func (h *Hub) Head(repository string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r := h.repos[repository]; r != nil {
		return r.head().sha
	}
	return ""
}

// origin is one of the servers.
type origin int

const (
	originHub origin = iota
	originCDN
	originCAS
)

// Request is one request that came in.
type Request struct {
	CDN    bool // to the CDN
	CAS    bool // to the Xet storage; if neither, to the hub
	Method string
	Path   string // escaped, without the query
	Query  string
	Header http.Header
	Status int
}

// Requests returns what came in since the last ResetRequests, in the order of arrival.
func (h *Hub) Requests() []Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.log)
}

// ResetRequests empties the log.
func (h *Hub) ResetRequests() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log = nil
}

// record notes a request and returns where its status is to be noted.
func (h *Hub) record(r *http.Request, to origin) func(status int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := len(h.log)
	h.log = append(h.log, Request{
		CDN: to == originCDN, CAS: to == originCAS, Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Header: r.Header.Clone(),
	})
	log := h.log
	return func(status int) {
		h.mu.Lock()
		defer h.mu.Unlock()
		log[i].Status = status
		if len(h.log) > i {
			h.log[i].Status = status
		}
	}
}

// bearer returns the token of a request.
func bearer(r *http.Request) (string, bool) {
	return strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
}
