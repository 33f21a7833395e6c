package control

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/hypha-node/hypha-node/bitswap"
	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/connectors/ipfs"
	"github.com/hypha-node/hypha-node/dag"
	"github.com/hypha-node/hypha-node/jobs"
)

// Network is the part of an exchange that operations use.
type Network interface {
	ID() bitswap.Identity
	Peers() []bitswap.PeerInfo
	Connect(ctx context.Context, addr string) (peer string, err error)
	Provide(ctx context.Context, roots ...cid.Cid) error
	Notify()
	Stats(ctx context.Context) (bitswap.Stats, error)
}

var _ Network = (*bitswap.Exchange)(nil)

// Config is what the operations work on. Everything but Network, Logger and
// Reserve is required.
type Config struct {
	Repo    string // absolute path
	Version string
	Store   *blockstore.Disk
	Engine  *ingest.Engine
	Blocks  *ipfs.Connector
	Jobs    *jobs.Supervisor
	Network Network // nil: offline
	// PeerID returns the node's identity without a network.
	PeerID func() (string, error)
	// Mend brings the bytes of damaged blocks again; nil: nobody does.
	Mend func(ctx context.Context, d blockstore.Damage) ([]byte, error)
	// Scrub tells how the scrub of the store is doing; nil: there is none.
	Scrub  func() ScrubStatus
	Logger *slog.Logger
}

// Server is the handler of the API. It is safe for concurrent use.
type Server struct {
	Config
	mux     http.ServeMux
	started time.Time
	recent  usageCache
}

// NewServer returns the handler. It starts nothing.
func NewServer(c Config) *Server {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{Config: c, started: time.Now()}
	for _, op := range s.operations() {
		s.mux.HandleFunc(op.route, op.serve)
	}
	return s
}

// ServeHTTP serves one operation.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	if _, route := s.mux.Handler(r); route == "" {
		s.refuseRoute(w, r)
		return
	}
	s.mux.ServeHTTP(w, r)
	s.Logger.Debug("served", slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Duration("took", time.Since(start)))
}

// refuseRoute answers what is no operation.
func (s *Server) refuseRoute(w http.ResponseWriter, r *http.Request) {
	e := &Error{Status: http.StatusNotFound, Code: CodeInvalid, Detail: "no operation " + r.Method + " " + quote(r.URL.Path)}
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, route := s.mux.Handler(other); route != "" {
			allowed = append(allowed, method)
		}
	}
	if allowed != nil {
		e.Status = http.StatusMethodNotAllowed
		w.Header().Set("Allow", strings.Join(allowed, ", "))
	}
	writeError(w, e)
}

// parse splits what names content into a CID and a path below it.
func parse(name string) (cid.Cid, string, error) {
	rest := strings.TrimPrefix(strings.TrimPrefix(name, "ipfs://"), "/ipfs/")
	root, below, _ := strings.Cut(rest, "/")
	c, err := cid.Decode(root)
	if err != nil {
		return cid.Undef, "", &Error{
			Status: http.StatusBadRequest, Code: CodeInvalid, Detail: "invalid CID " + quote(root) + ": " + err.Error(),
			Hint: "content is named as CID[/path]; `hypha-node add` and `hypha-node fetch` print CIDs",
		}
	}
	return c, strings.Trim(below, "/"), nil
}

// resolve returns the CID that a name stands for, reading directories through src.
func resolve(ctx context.Context, src dag.Getter, name string) (cid.Cid, error) {
	root, below, err := parse(name)
	if err != nil || below == "" {
		return root, err
	}
	return dag.Resolve(ctx, src, root, below)
}

// timeout returns the limit that a request names; 0 is the default's.
func timeout(ms int64) time.Duration { return time.Duration(max(ms, 0)) * time.Millisecond }

// errOffline is the answer to what needs a network.
func errOffline() error {
	return &Error{
		Status: http.StatusServiceUnavailable, Code: CodeOffline, Detail: "this node takes part in no network",
		Hint: "start `hypha-node daemon`",
	}
}

// id answers who the node is.
func (s *Server) id(context.Context, none) (Identity, error) {
	id := Identity{Version: s.Version, Repo: s.Repo, Addresses: []string{}, AgentVersion: "hypha-node/" + s.Version}
	if s.Network != nil {
		own := s.Network.ID()
		id.PeerID, id.AgentVersion, id.Online = own.PeerID, own.AgentVersion, true
		id.Addresses = append(id.Addresses, own.Addresses...)
		return id, nil
	}
	var err error
	id.PeerID, err = s.PeerID()
	return id, err
}

// peers answers who is connected.
func (s *Server) peers(context.Context, none) ([]Peer, error) {
	if s.Network == nil {
		return nil, errOffline()
	}
	peers := []Peer{}
	for _, p := range s.Network.Peers() {
		peers = append(peers, Peer{
			PeerID: p.ID, Address: p.Address, Direction: p.Direction, Transport: p.Transport,
			Agent: p.Agent, LatencyMS: p.Latency.Milliseconds(),
		})
	}
	return peers, nil
}

// connect dials a peer.
func (s *Server) connect(ctx context.Context, r ConnectRequest) (ConnectResponse, error) {
	if s.Network == nil {
		return ConnectResponse{}, errOffline()
	}
	// Parsed here too, so that a slip is told apart from a peer that is away.
	if addr, err := ma.NewMultiaddr(r.Address); err != nil {
		return ConnectResponse{}, badAddress(err.Error())
	} else if _, err := addr.ValueForProtocol(ma.P_P2P); err != nil {
		return ConnectResponse{}, badAddress(fmt.Sprintf("address %s does not end in /p2p/<peer id>", quote(r.Address)))
	}
	peer, err := s.Network.Connect(ctx, r.Address)
	if err != nil {
		return ConnectResponse{}, &Error{Status: http.StatusBadGateway, Code: CodeUpstream, Detail: err.Error(), err: err}
	}
	return ConnectResponse{PeerID: peer}, nil
}

// badAddress is the answer to what is no address of a peer.
func badAddress(detail string) error {
	return &Error{
		Status: http.StatusBadRequest, Code: CodeInvalid, Detail: detail,
		Hint: "the other node prints its addresses: `hypha-node id`",
	}
}

// announce tells peers of content that is here now, unless it is private. What
// fails is done again by the next announcement cycle.
func (s *Server) announce(ctx context.Context, root cid.Cid) {
	if s.Network == nil {
		return
	}
	s.Network.Notify()
	all, err := ingest.Announced(ctx, s.Store, root)
	if err == nil && len(all) > 0 {
		err = s.Network.Provide(ctx, all...)
	}
	if err != nil && ctx.Err() == nil {
		s.Logger.Warn("announce", slog.String("cid", root.String()), slog.Any("error", err))
	}
}

// quote shows outside text in one harmless line of bounded length.
func quote(s string) string {
	if len(s) > 100 {
		return strconv.Quote(s[:100]) + "…"
	}
	return strconv.Quote(s)
}
