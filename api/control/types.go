package control

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/jobs"
)

// Event is one line of a streamed answer.
type Event[T any] struct {
	Event    string    `json:"event"`              // "progress", "item", "error" or "done"
	Progress *Progress `json:"progress,omitempty"` // of "progress"
	Item     *T        `json:"item,omitempty"`     // of "item"
	*Error             // of "error"
}

// Progress says how far one file is.
type Progress struct {
	Path  string `json:"path"`            // as the item will be called
	Done  int64  `json:"done"`            // bytes
	Total int64  `json:"total,omitempty"` // bytes; 0 while unknown
	From  string `json:"from,omitempty"`  // "origin", "peer", "cache", "store"; "" for local files

	Transport string `json:"transport,omitempty"` // of what came from the origin: "http", "xet", "http+xet"
}

// Identity answers "GET /v1/id".
type Identity struct {
	PeerID       string   `json:"peer_id"`
	Addresses    []string `json:"addresses"` // multiaddrs with /p2p/; empty when offline
	AgentVersion string   `json:"agent_version"`
	Version      string   `json:"version"`
	Online       bool     `json:"online"`            // whether the node takes part in a network
	Repo         string   `json:"repo"`              // absolute path of the repository
	Hub          string   `json:"hub,omitempty"`     // URL of the hub façade, where daemon tells it
	Gateway      string   `json:"gateway,omitempty"` // URL of the gateway, where daemon tells it
	Metrics      string   `json:"metrics,omitempty"` // URL of the metrics, likewise
	RPC          string   `json:"rpc,omitempty"`     // URL of Kubo's API, where daemon tells it
}

// Peer is one element of the answer to "GET /v1/peers".
type Peer struct {
	PeerID    string `json:"peer_id"`
	Address   string `json:"address"`
	Direction string `json:"direction"` // "in" or "out": who dialled
	Transport string `json:"transport"` // "tcp", "quic" or "other"
	Agent     string `json:"agent,omitempty"`
	LatencyMS int64  `json:"latency_ms,omitempty"` // smoothed round trip; absent if not measured
}

// ConnectRequest asks to dial a peer.
type ConnectRequest struct {
	Address string `json:"address"` // multiaddr that ends in /p2p/<peer id>
}

// ConnectResponse names the peer that was reached.
type ConnectResponse struct {
	PeerID string `json:"peer_id"`
}

// FetchRequest asks for the files that references stand for.
type FetchRequest struct {
	// Refs holds URIs (JSON strings) or reference objects.
	Refs []json.RawMessage `json:"refs"`
	// Checksum is what the one file of the one reference must have: "sha256:…", or
	// "sidecar" if that is in the file beside it; "" is not checked.
	Checksum string `json:"checksum,omitempty"`
	// Output is the absolute path of a directory to write the files into; ""
	// stores them only.
	Output string `json:"output,omitempty"`
	// Force lets files in Output be replaced by different ones.
	Force bool `json:"force,omitempty"`
	// Include and Exclude are patterns of Python's fnmatch on the items' paths, as
	// hubs' own tools take them: * matches slashes, too.
	Include []string `json:"include,omitempty"`
	Exclude []string `json:"exclude,omitempty"`
	// DryRun resolves the references and answers what would be fetched.
	DryRun bool `json:"dry_run,omitempty"`
	// NoPin leaves what is fetched to garbage collection.
	NoPin bool `json:"no_pin,omitempty"`
	// PinName is the name of the pins; "" is the default pin.
	PinName string `json:"pin_name,omitempty"`
	// TimeoutMS bounds the time without progress; 0 means 30 s.
	TimeoutMS int64 `json:"timeout_ms,omitempty"`
	// Mode is the permission of written files; 0 means 0600.
	Mode uint32 `json:"mode,omitempty"`
	// DirMode is the permission of directories that are made; 0 means 0700.
	DirMode uint32 `json:"dir_mode,omitempty"`
}

// Fetched is one file that a fetch got.
type Fetched struct {
	Path   string `json:"path"`             // relative, as the reference names it
	Size   int64  `json:"size"`             // bytes; -1 if unknown (dry run)
	CID    string `json:"cid,omitempty"`    // absent in a dry run if unknown
	SHA256 string `json:"sha256,omitempty"` // 64 hex digits; absent for directories
	From   string `json:"from,omitempty"`   // "origin", "peer", "cache", "store"
	// Transport is how the origin's bytes came: "http", "xet", "http+xet"; absent for others.
	Transport string `json:"transport,omitempty"`
	// Saved is what of the bytes from peers did not go over the wire, since they packed
	// blocks: bytes, negative where that made them larger; absent if none.
	Saved int64 `json:"saved,omitempty"`

	Source   string `json:"source"`             // URL or CID that it stands for, without credentials
	Revision string `json:"revision,omitempty"` // commit that the source's revision was resolved to
	Output   string `json:"output,omitempty"`   // absolute path that was written
	// Transfer is what a dry run expects to come over the network: bytes; -1 if
	// that is not known.
	Transfer *int64 `json:"transfer,omitempty"`
}

// AddRequest asks to import files and directories.
type AddRequest struct {
	Paths    []string `json:"paths"`             // absolute
	Profile  string   `json:"profile,omitempty"` // "v1-2025" (default), "v0-2015"
	Chunker  string   `json:"chunker,omitempty"` // "size-N"
	HashOnly bool     `json:"hash_only,omitempty"`
	Hidden   bool     `json:"hidden,omitempty"` // files of a directory whose name begins with a dot, too
	NoPin    bool     `json:"no_pin,omitempty"`
	Name     string   `json:"name,omitempty"` // of content that is streamed in
	// RootsOnly leaves out the entries of directories.
	RootsOnly bool `json:"roots_only,omitempty"`
}

// Added is one entry that an add stored.
type Added struct {
	Path   string `json:"path"` // begins with the last segment of the path that was asked for
	CID    string `json:"cid"`
	Size   int64  `json:"size"` // bytes of content
	SHA256 string `json:"sha256,omitempty"`
	Type   string `json:"type"`           // "file", "dir", "symlink"
	Root   bool   `json:"root,omitempty"` // this is what one of the paths became
}

// CatRequest asks for bytes of one file; it travels as a query.
type CatRequest struct {
	Path      string // CID[/path], ipfs://… or /ipfs/…
	Offset    int64  // bytes
	Length    int64  // bytes; negative: to the end
	TimeoutMS int64
}

// GetRequest asks to write a file or tree to disk.
type GetRequest struct {
	Path       string `json:"path"`   // CID[/path]
	Output     string `json:"output"` // absolute path of the new file or directory
	Force      bool   `json:"force,omitempty"`
	TimeoutMS  int64  `json:"timeout_ms,omitempty"`
	NoSymlinks bool   `json:"no_symlinks,omitempty"` // refuse a tree that has some
	RootOnly   bool   `json:"root_only,omitempty"`   // leave out the entries of a directory
	Mode       uint32 `json:"mode,omitempty"`        // of files; 0 means 0600
	DirMode    uint32 `json:"dir_mode,omitempty"`    // 0 means 0700
}

// Written is one file, directory or symlink that a get wrote.
type Written struct {
	Path      string `json:"path"` // absolute
	CID       string `json:"cid"`
	Size      int64  `json:"size"`
	SHA256    string `json:"sha256,omitempty"`
	Reflinked bool   `json:"reflinked,omitempty"` // shares its blocks on disk with the store
	Root      bool   `json:"root,omitempty"`      // this is what was asked for
	Files     int64  `json:"files,omitempty"`     // of the root: files below it
}

// PathRequest names content.
type PathRequest struct {
	Path      string `json:"path"` // CID[/path], ipfs://… or /ipfs/…
	TimeoutMS int64  `json:"timeout_ms,omitempty"`
}

// Entry is one entry of a directory.
type Entry struct {
	Name string `json:"name"`
	CID  string `json:"cid"`
	Size int64  `json:"size"` // bytes as the directory tells; not verified
	Type string `json:"type"` // "file", "dir", "symlink"
}

// Stat describes a node of a DAG.
type Stat struct {
	CID    string `json:"cid"`
	Type   string `json:"type"`
	Size   int64  `json:"size"`             // bytes of content
	Links  int    `json:"links"`            // of the top block
	SHA256 string `json:"sha256,omitempty"` // of the content, if the file is stored whole
	Local  bool   `json:"local"`            // stored whole here
	Pins   []Pin  `json:"pins,omitempty"`   // on this very root
}

// BlockStat describes one stored block.
type BlockStat struct {
	CID  string `json:"cid"`
	Size int64  `json:"size"` // bytes
}

// ExportRequest asks for a CAR of everything under a name. Written to disk it is
// JSON; streamed it is a query, without Output, Force and the modes.
type ExportRequest struct {
	Path      string `json:"path"`              // CID[/path]
	Output    string `json:"output"`            // absolute path of the new file
	Version   int64  `json:"version,omitempty"` // 1 (default) or 2
	Force     bool   `json:"force,omitempty"`   // replace a file
	TimeoutMS int64  `json:"timeout_ms,omitempty"`
	Mode      uint32 `json:"mode,omitempty"`     // 0 means 0600
	DirMode   uint32 `json:"dir_mode,omitempty"` // 0 means 0700
}

// Exported is a CAR that was written.
type Exported struct {
	Path   string `json:"path"` // that was asked for
	CID    string `json:"cid"`  // the CAR's root
	Output string `json:"output"`
	Blocks int64  `json:"blocks"`
	Size   int64  `json:"size"` // bytes of the CAR
}

// ImportRequest asks to import CARs. Streamed it is a query, without Paths.
type ImportRequest struct {
	Paths   []string `json:"paths"`              // absolute
	NoPin   bool     `json:"no_pin,omitempty"`   // leave the roots to garbage collection
	PinName string   `json:"pin_name,omitempty"` // of the roots' pins
}

// Imported is a CAR that was imported.
type Imported struct {
	Path   string   `json:"path"`  // its name, "-" for streamed content
	Roots  []string `json:"roots"` // as its header has them
	Pinned bool     `json:"pinned"`
	Blocks int64    `json:"blocks"`
	Bytes  int64    `json:"bytes"` // of the blocks
}

// Pin keeps a DAG.
type Pin struct {
	CID     string    `json:"cid"`
	Name    string    `json:"name,omitempty"`
	Created time.Time `json:"created,omitzero"`
	Expires time.Time `json:"expires,omitzero"` // when it ends; absent: never
	Owner   string    `json:"owner,omitempty"`  // a job's id, or who has set it
}

// PinRequest adds or removes a pin; Expires and Owner are of no interest when one is
// removed.
type PinRequest struct {
	Path      string    `json:"path"` // CID[/path]
	Name      string    `json:"name,omitempty"`
	TimeoutMS int64     `json:"timeout_ms,omitempty"`
	Expires   time.Time `json:"expires,omitzero"` // zero: never
	Owner     string    `json:"owner,omitempty"`  // blockstore.MaxOwner bytes at most
}

// Collected says what a garbage collection dropped.
type Collected struct {
	Blocks int64 `json:"blocks"`
	Files  int64 `json:"files"`
	Bytes  int64 `json:"bytes"` // given back to the file system
}

// Finding is one stored block that does not hash to its CID.
type Finding struct {
	CID     string `json:"cid"`
	Segment string `json:"segment"`
	Offset  int64  `json:"offset"` // bytes
	Problem string `json:"problem"`
	Mended  bool   `json:"mended,omitempty"` // it is as it should be again
}

// VerifyRequest asks for a verification.
type VerifyRequest struct {
	Repair bool `json:"repair,omitempty"` // fetch damaged blocks again
}

// Usage counts what the repository holds.
type Usage struct {
	Repo      string `json:"repo"`
	Blocks    int64  `json:"blocks"`
	Files     int64  `json:"files"`
	Pins      int64  `json:"pins"`
	Segments  int64  `json:"segments"`
	Bytes     int64  `json:"bytes"`      // of content
	DiskBytes int64  `json:"disk_bytes"` // occupied on disk
	FreeBytes int64  `json:"free_bytes"` // left on the file system

	StorageMax  int64 `json:"storage_max,omitempty"`  // bytes that the store may take; 0: no limit, and no numbers for it
	StorageUsed int64 `json:"storage_used,omitempty"` // bytes of that: taken, or promised to what is being written
	Evicted     int64 `json:"evicted,omitempty"`      // bytes given back for it since the repository was opened
}

// JobRequest asks for a new job. The zero value is a good one.
type JobRequest = jobs.Spec

// JobEnd ends a job whose command was the caller's.
type JobEnd struct {
	ID       string `json:"-"` // in the path
	ExitCode int    `json:"exit_code"`
	Signal   string `json:"signal,omitempty"`  // name of the one that ended the command
	Failure  string `json:"failure,omitempty"` // why the command could not be run; there is no exit code then
}

// locate takes the job's id from the path.
func (r *JobEnd) locate(req *http.Request) { r.ID = req.PathValue("id") }

// LogsRequest asks for an output of a job's command; it travels as a query.
type LogsRequest struct {
	ID     string
	Stream jobs.Stream // "": standard output
	Follow bool        // until the job has ended
}

// cidText returns the text of a CID, "" for the undefined one.
func cidText(c cid.Cid) string {
	if !c.Defined() {
		return ""
	}
	return c.String()
}
