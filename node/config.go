package node

import (
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/hypha-node/hypha-node/bridge/rest"
	"github.com/hypha-node/hypha-node/connectors/hf"
	"github.com/hypha-node/hypha-node/connectors/s3"
	"github.com/hypha-node/hypha-node/jobs"
)

// Config says what node to open. Repo has no default.
type Config struct {
	Repo    string // absolute path of the repository; made if it is missing
	Holder  string // who has the repository open, for others to read: "daemon" or a command's name
	Version string // of the program

	Offline   bool     // take part in no network
	Listen    []string // multiaddrs; nil: bitswap.DefaultListen
	Bootstrap []string // multiaddrs with /p2p/, dialled to enter the DHT; none by default
	Peers     []string // multiaddrs with /p2p/ that a connection is kept to
	Relays    []string // multiaddrs with /p2p/ of relays over which the node is found, if it can't be reached
	Public    bool     // take part in the public IPFS network's DHT, too
	Crew      bool     // share an origin's work with connected nodes that fetch the same; the command's default
	MDNS      bool     // find nodes on the local networks, and be found
	Allow     []string // ids of the only peers that may connect; none: anybody may
	// ForcePrivate refuses to take part in a network without a swarm key in the
	// repository: an error that wraps bitswap.ErrNoSwarmKey.
	ForcePrivate bool

	HTTPAllow []netip.Prefix // private networks that jobs may reach
	MaxRate   int64          // bytes per second of all downloads over HTTP together; 0: no limit
	HF        hf.Config      // endpoint and token; its Client is made by Open
	HFCache   hf.Cache       // of Hugging Face's own tools, taken from before the endpoint is asked; no Dir: none
	S3        s3.Config      // endpoints and their credentials; its Client is made by Open

	// Hub is the "host:port" where Run serves the hub façade over TCP; "": nowhere.
	Hub string
	// Gateway is the "host:port" where Run serves stored content over TCP; "": nowhere.
	Gateway      string
	GatewayFetch bool     // get what is not stored from peers for the gateway's clients
	GatewayHosts []string // names, beside localhost, under which content has subdomains

	// Metrics is the "host:port" where Run serves the node's numbers to Prometheus;
	// "": nowhere. Pprof has it serve Go's profiler too, on loopback only.
	Metrics string
	Pprof   bool

	// RPC is the "host:port" where Run serves Kubo's API over TCP; "": nowhere. Its token
	// is in the repository, made when it is missing.
	RPC string

	Reserve    int64 // free bytes that the store leaves on the disk; 0: its default, negative: none
	StorageMax int64 // bytes that the store takes; what is not pinned goes for new content; 0: no limit
	// ScrubRate is how many bytes per second Run reads to find what went bad on the
	// disk, 0 for none at all, and ScrubEvery the time from the beginning of one pass
	// to that of the next; 0: DefaultScrubEvery.
	ScrubRate  int64
	ScrubEvery time.Duration
	RuntimeDir string // short absolute path for sockets that don't fit below Repo; "": nowhere

	Executors []jobs.Executor // templates of jobs' commands
	Environ   []string        // "NAME=value" each: what the commands of jobs get
	Walls     jobs.Walls      // around the commands of jobs; the repository is hidden by them in any case
	Running   int             // commands that run at once; 0: as package jobs has it
	LogSize   int64           // bytes kept of each output of a command; 0: as package jobs has it

	Logger *slog.Logger // nil: silent
}

// socketName is the control socket's name.
const socketName = "api.sock"

// SocketPath returns where the control socket of a repository is: in the
// repository or, if that path is longer than the system allows, in a directory
// below runtimeDir whose name derives from the repository's path.
func SocketPath(repo, runtimeDir string) string {
	path := filepath.Join(repo, socketName)
	if rest.CheckSocketPath(path) == nil || runtimeDir == "" {
		return path
	}
	real, err := filepath.EvalSymlinks(repo)
	if err != nil {
		real = repo // not made yet: its own path then
	}
	sum := sha256.Sum256([]byte(real))
	return filepath.Join(runtimeDir, "hypha-"+hex.EncodeToString(sum[:8]), socketName)
}
