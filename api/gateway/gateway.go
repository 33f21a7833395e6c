package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/ipfs/boxo/blockservice"
	boxo "github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/namesys"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/dag"
)

// Limits of requests.
const (
	maxRequests = 128            // at once; others are told to come again
	maxDepth    = 1024           // blocks from the root of a DAG down
	maxDuration = 24 * time.Hour // of one answer: a model over a slow link
	stall       = 30 * time.Second
	// stallFetch is how long a request may wait for content that is fetched: a
	// first block takes a session's whole patience, and other providers after it.
	stallFetch = 5 * time.Minute
)

// Store is the part of a blockstore that a gateway reads.
type Store interface {
	blockstore.Store
	// Hold keeps from collection what is found until it is released.
	Hold() (release func())
}

// Config says what a gateway serves. Store is required.
type Config struct {
	Store Store
	// Served tells whether strangers may have a block; nil: all.
	Served func(ctx context.Context, c cid.Cid) bool
	// Fetch returns where blocks that are not stored come from, for one request,
	// which ends with ctx; nil: nowhere.
	Fetch func(ctx context.Context) dag.Getter
	// Hosts are names, beside "localhost", under which content has a subdomain of
	// its own, <CID>.ipfs.<host>: what is there is kept apart by browsers.
	Hosts []string
}

// New returns the handler of a gateway.
func New(c Config) (http.Handler, error) {
	blocks := blockservice.New(&view{Store: c.Store, served: c.Served}, &exchange{config: &c})
	inner, err := boxo.NewBlocksBackend(blocks, boxo.WithNameSystem(noNames{}), boxo.WithMaxTraversalDepth(maxDepth))
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	patience := stall
	if c.Fetch != nil {
		patience = stallFetch
	}
	hosts := map[string]*boxo.PublicGateway{}
	for _, name := range append([]string{"localhost"}, c.Hosts...) {
		hosts[name] = &boxo.PublicGateway{
			Paths: []string{"/ipfs", "/ipns"}, UseSubdomains: true, InlineDNSLink: true, NoDNSLink: true, DeserializedResponses: true,
		}
	}
	config := boxo.Config{
		DeserializedResponses: true, NoDNSLink: true, PublicGateways: hosts,
		DeprecatedXIpfsPath: true, // clients still read it
		RetrievalTimeout:    patience, MaxRequestDuration: maxDuration, MaxConcurrentRequests: maxRequests,
		MetricsRegistry: prometheus.NewRegistry(),
	}
	back := &backend{BlocksBackend: inner, store: c.Store.Scope(""), served: c.Served, files: make(chan struct{}, maxFiles)}
	served := boxo.NewHeaders(nil).WithDeprecatedXIpfsPath().ApplyCors().Wrap(
		boxo.NewHostnameHandler(config, back, boxo.NewHandler(config, back)))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A proxy's tunnel leads to the gateway itself, for any host: the next
		// request on the connection is one of those that it was made for.
		if r.Method == http.MethodConnect {
			w.WriteHeader(http.StatusOK)
			return
		}
		defer c.Store.Hold()()
		served.ServeHTTP(w, r)
	}), nil
}

// errNames is the answer to what is named by IPNS or DNSLink.
var errNames = errors.New("this gateway serves /ipfs/ alone: it looks up no names of IPNS and DNSLink")

// backend is boxo's without names, and with a way of its own to files.
type backend struct {
	*boxo.BlocksBackend

	store  blockstore.Store // without what is private
	served func(ctx context.Context, c cid.Cid) bool
	files  chan struct{} // a token for each file that is read here
}

// ResolveMutable returns immutable paths as they are.
func (b *backend) ResolveMutable(ctx context.Context, p path.Path) (path.ImmutablePath, time.Duration, time.Time, error) {
	if p.Namespace() == path.IPFSNamespace {
		return b.BlocksBackend.ResolveMutable(ctx, p)
	}
	return path.ImmutablePath{}, 0, time.Time{}, boxo.NewErrorStatusCode(errNames, http.StatusNotImplemented)
}

// GetIPNSRecord knows no record.
func (*backend) GetIPNSRecord(context.Context, cid.Cid) ([]byte, error) {
	return nil, boxo.NewErrorStatusCode(errNames, http.StatusNotImplemented)
}

// GetDNSLinkRecord knows no record.
func (*backend) GetDNSLinkRecord(context.Context, string) (path.Path, error) {
	return nil, boxo.NewErrorStatusCode(errNames, http.StatusNotImplemented)
}

// noNames keeps boxo from making a resolver of names. Of the interface that it
// embeds, which is nil, nothing is called.
type noNames struct{ namesys.NameSystem }

// Resolve resolves nothing.
func (noNames) Resolve(context.Context, path.Path, ...namesys.ResolveOption) (namesys.Result, error) {
	return namesys.Result{}, errNames
}
