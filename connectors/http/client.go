package httpconn

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"golang.org/x/time/rate"

	"github.com/hypha-node/hypha-node/internal/netguard"
)

// Defaults of Config.
const (
	// defaultStall is the silence after which a connection is given up: facts
	// of other clients range from 10 s (curl scripts) to 120 s (Xet, whose
	// hangs are its most frequent complaint).
	defaultStall = 15 * time.Second
	// leastMoved is how many bytes have to come in that time: what drips more
	// slowly, 70 bytes a second, would not end for months.
	leastMoved = 1 << 10
	// defaultHeader is how long an origin may take to begin its answer.
	defaultHeader = 30 * time.Second
	// defaultRetries is how many attempts in a row may bring no byte.
	defaultRetries = 5
	// defaultDelay and maxDelay bound the pause before an attempt, before jitter.
	defaultDelay = 500 * time.Millisecond
	maxDelay     = 30 * time.Second
	// maxWait is the longest pause that an origin may ask for: the Hub counts
	// in windows of five minutes.
	maxWait = 6 * time.Minute
	// defaultConnections and defaultPerHost: content networks deny who opens
	// sixteen for one file (403 to aria2 -x16), and eight fill most links.
	defaultConnections, defaultPerHost = 8, 16
	// idlePerHost is how many connections to one host wait for the next request:
	// as many as small files are fetched over at once.
	idlePerHost = 32
	// readBuffer is the socket buffer of a connection: bytes. Reads that are
	// larger go past it, straight into the caller's memory.
	readBuffer = 64 << 10
)

// Config says how to fetch. The zero value works.
type Config struct {
	Allow     []netip.Prefix // networks that jobs may reach although they are private
	Exempt    []string       // "host:port" of endpoints that the operator has set: jobs may reach them
	UserAgent string         // "" means "hypha-node"
	Logger    *slog.Logger   // nil discards

	// Dial makes all connections, to whatever address, where there is another network
	// than the system's, as in simulations. Nil: the system's, as far as Allow and
	// Exempt let jobs.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Proxy chooses the proxy of a request; nil means the environment's
	// (HTTPS_PROXY, HTTP_PROXY, NO_PROXY), as net/http reads it, once.
	Proxy func(*http.Request) (*url.URL, error)

	Stall   time.Duration // silence, or less than 1 KiB, within a body that ends an attempt; 0 means 15 s
	Header  time.Duration // wait for the beginning of an answer; 0 means 30 s
	Retries int           // attempts in a row without a new byte; 0 means 5, < 0 means one attempt only
	Delay   time.Duration // first pause between attempts, doubled up to 30 s, jittered; 0 means 500 ms

	Connections int    // most connections that one content is read over; 0 means 8
	PerHost     int    // most connections to one host that large contents have together, if one suffices each; 0 means 16
	MaxRate     int64  // bytes per second of all bodies together; 0 means no limit
	Memory      Memory // asked for what is read ahead, at most 32 MiB a content; nil: only that
}

// Client fetches over HTTP/1.1, which moves bulk faster than HTTP/2 whose flow
// control caps each stream. It is safe for concurrent use.
type Client struct {
	cfg    Config
	policy *netguard.Policy
	jobs   *http.Transport // dials what the policy allows
	own    *http.Transport // dials anything: the operator's own commands
	limit  *rate.Limiter   // nil: none
	hosts  hosts
}

// NewClient returns a client; Close it.
func NewClient(cfg Config) *Client {
	if cfg.UserAgent == "" {
		cfg.UserAgent = "hypha-node"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Proxy == nil {
		cfg.Proxy = http.ProxyFromEnvironment
	}
	cfg.Stall = orDefault(cfg.Stall, defaultStall)
	cfg.Header = orDefault(cfg.Header, defaultHeader)
	cfg.Delay = orDefault(cfg.Delay, defaultDelay)
	switch {
	case cfg.Retries == 0:
		cfg.Retries = defaultRetries
	case cfg.Retries < 0:
		cfg.Retries = 0
	}
	if cfg.Connections <= 0 {
		cfg.Connections = defaultConnections
	}
	if cfg.PerHost <= 0 {
		cfg.PerHost = defaultPerHost
	}
	policy := &netguard.Policy{Allow: cfg.Allow, Exempt: cfg.Exempt}
	return &Client{cfg: cfg, policy: policy, jobs: newTransport(cfg, policy), own: newTransport(cfg, nil), limit: newLimiter(cfg.MaxRate)}
}

// Close closes the connections that nobody uses.
func (c *Client) Close() {
	c.jobs.CloseIdleConnections()
	c.own.CloseIdleConnections()
}

// newTransport returns a transport whose connections the policy (nil: none)
// has allowed. Connections are reused, therefore each policy has its transport.
func newTransport(cfg Config, policy *netguard.Policy) *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	dial := cfg.Dial
	if dial == nil {
		dial = policy.DialContext(net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second})
	}
	return &http.Transport{
		Protocols:              &protocols,
		Proxy:                  cfg.Proxy,
		DialContext:            dial,
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  cfg.Header,
		MaxResponseHeaderBytes: 256 << 10,
		MaxIdleConnsPerHost:    idlePerHost,
		IdleConnTimeout:        60 * time.Second,
		DisableCompression:     true,
		ReadBufferSize:         readBuffer,
	}
}

// orDefault returns d, or the default when d is not positive.
func orDefault(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}
