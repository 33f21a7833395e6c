package bitswap

import (
	"context"
	"crypto/sha256"
	"errors"
	"iter"
	"log/slog"
	"time"

	boxoblockstore "github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
)

// Errors of this package.
var (
	// ErrNoPeers says that there is nobody to ask: no connection, nobody in the
	// routing table, and no configured peer that is still being dialled.
	ErrNoPeers = errors.New("no peers to ask")
	// ErrStalled says that nobody sent what a watched session waited for.
	ErrStalled = errors.New("no progress")
	// ErrClosed says that the exchange was closed.
	ErrClosed = errors.New("exchange is closed")
)

// DefaultPort is the TCP and UDP port that DefaultListen names.
const DefaultPort = 4101

// DefaultPrefix is the protocol prefix of the DHT: nodes with another prefix
// are another network.
const DefaultPrefix = "/hypha"

// Limits of one node. The sources are measurements on loopback unless said
// otherwise (docs/decisions/0003-exchange.md).
const (
	// Bytes that one peer may have under way from this node. boxo's default of
	// 1 MiB is one block of the default profile and halves the speed.
	maxOutstandingBytes = 16 << 20
	// Bytes after which an outgoing message is sent. Together with one block of
	// at most 2 MiB it stays under the 4 MiB that receivers accept; a message
	// above that is dropped by them without a word.
	targetMessageSize = 512 << 10
	// Wants that a peer may have queued here. The default, 1024, silently cuts
	// what exceeds it, and the asker repeats itself only after 30 s.
	maxQueuedWants = 4096
	// Wants that one call of GetBlocks has under way: under the 1024 that a stock
	// peer keeps, over the 256 at which a message leaves without its 20 ms delay.
	wantBatch = 768
	// Workers that read blocks for peers: each holds at most one block.
	readWorkers = 8
	// Providers that one lookup connects to.
	maxProviders = 10
	// Providers that one lookup names to who connects to them himself: some may be gone.
	maxNamed = 2 * maxProviders
	// Connected peers that Refresh asks outright; each that has the block sends it.
	maxAsked = 16
	// How long Refresh waits for the block before it asks again.
	askAgain = 2 * time.Second
	// How long one lookup of providers may take.
	lookupTimeout = 10 * time.Second
	// How long a session waits for its first block before it asks the DHT.
	searchDelay = 500 * time.Millisecond
	// How long one dial of a configured peer may take.
	dialTimeout = 10 * time.Second
	// Connections kept after trimming, and where trimming begins. Peers of
	// Config.Peers and Connect are never trimmed.
	lowPeers, highPeers = 96, 192
	// How long a new connection is safe from trimming.
	peerGrace = 20 * time.Second
)

// Config says how a node takes part in the network. Store and Identity (or
// Host) are required; everything else has a default.
type Config struct {
	// Identity is the private key that the peer id is derived from; LoadIdentity
	// keeps one in a directory.
	Identity crypto.PrivKey
	// Listen holds multiaddrs; nil means DefaultListen, empty means nowhere.
	Listen []string
	// Bootstrap holds addresses with /p2p/ that are dialled at the start and
	// whenever the routing table is nearly empty. Nil dials nobody.
	Bootstrap []string
	// Peers holds addresses with /p2p/ to which a connection is kept.
	Peers []string
	// Public has the node take part in the DHT of the public IPFS network, too: it
	// looks for providers there and announces what it announces (Roots, Provide). Not
	// with a SwarmKey: ErrPrivate.
	Public bool
	// PublicBootstrap holds addresses with /p2p/ through which the public network is
	// entered; nil means PublicBootstrap().
	PublicBootstrap []string
	// Relays holds addresses with /p2p/ of relays over which others find this node,
	// which they can't reach otherwise. Nil: it is reached directly.
	Relays []string
	// MDNS has nodes of the same network on the local networks find each other.
	MDNS bool
	// SwarmKey is the key of a private network: the node talks to those only who
	// have it, over TCP. Nil is the open network.
	SwarmKey SwarmKey
	// Allow holds the ids of the only peers that connections are had with; nil
	// means that anybody may connect.
	Allow []string
	// ProtocolPrefix separates DHTs; "" means DefaultPrefix.
	ProtocolPrefix string
	// Datastore keeps provider records and what this node announces across
	// restarts; nil keeps them in memory. The caller closes it after Close.
	Datastore datastore.Batching
	// Store is what peers are served from, and sessions: without what strangers
	// may not have. It is only read.
	Store boxoblockstore.Blockstore
	// Served tells whether peers may have a block of a DAG that is being fetched,
	// which need not be in Store; nil means all. It is asked from any goroutine.
	Served func(ctx context.Context, c cid.Cid) bool
	// Holding returns the file with a sha256, if it is here and peers may have it;
	// they are told of it while it is announced (Provide, with its FileKey). Nil
	// answers nobody.
	Holding func(ctx context.Context, sum [sha256.Size]byte) (Holding, bool, error)
	// Logger may be nil.
	Logger *slog.Logger
	// Version is told to peers as hypha-node/<version>.
	Version string
	// Roots yields everything that is to be announced; it is read when Run
	// begins and once per announcement cycle, so that what has left the store is
	// announced no longer. Nil: only Provide and what earlier runs recorded.
	Roots func(ctx context.Context) iter.Seq2[cid.Cid, error]
	// Host replaces the host that New would make; Identity, Listen, SwarmKey and
	// Allow are then not used, and the caller closes it after Close.
	Host host.Host

	anyAddress bool // tests: the public network may lie on loopback
}

// DefaultListen returns the addresses that a node listens on by default: TCP and
// QUIC on DefaultPort of all interfaces, IPv4 and IPv6.
func DefaultListen() []string {
	return []string{
		"/ip4/0.0.0.0/tcp/4101",
		"/ip4/0.0.0.0/udp/4101/quic-v1",
		"/ip6/::/tcp/4101",
		"/ip6/::/udp/4101/quic-v1",
	}
}
