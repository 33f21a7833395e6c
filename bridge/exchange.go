package bridge

import (
	"context"
	"encoding/json"
	"time"

	"github.com/hypha-node/hypha-node/connectors/peers"
)

// Peers sends stored files to other nodes.
type Peers interface {
	// Self returns this node's peer id.
	Self() string
	// Parse returns the one text form of a peer id, or an error.
	Parse(id string) (string, error)
	// Reach connects to a peer, or tells why it can't be reached.
	Reach(ctx context.Context, id string) error
	// Send offers a stored file to a peer and returns when it is kept there. A
	// *peers.Refusal is the peer's no. To Self it loops back.
	Send(ctx context.Context, to string, o peers.Offer, opts peers.SendOptions) (peers.Receipt, error)
}

// Controller answers what an executor reports. Bodies pass byte for byte.
type Controller interface {
	// Call forwards the body of route ("/status/send", "/action/update",
	// "/job/progress") and returns the answer's body. It is never repeated.
	Call(ctx context.Context, job, route string, body json.RawMessage) (json.RawMessage, error)
}

// Strategy says which of several peers get a file.
type Strategy string

// Strategies.
const (
	All    Strategy = "all"    // every one, at the same time
	One    Strategy = "one"    // the first, in the order given, that can be reached and takes it
	Random Strategy = "random" // the same in uniformly random order
)

// SendRequest sends one file of the work directory.
type SendRequest struct {
	Peers      []string // at least one; duplicates count once
	Strategy   Strategy // "": All
	Path       string   // a regular file, relative to the work directory
	Channel    string
	Name       string        // "": the base name of Path
	RemoveFile bool          // remove the file when all have it
	Timeout    time.Duration // 0: none
	Key        string        // Idempotency-Key, or the id of an earlier send's transfer: the same key and file never deliver twice; "": none
	Progress   func(Transfer)
}

// Delivered is the outcome for one peer.
type Delivered struct {
	PeerID     string `json:"peer_id"`
	SentBytes  int64  `json:"sent_bytes"` // the file's size, however little had to move
	Status     string `json:"status"`     // "delivered" or "failed"
	CID        string `json:"cid"`
	Checksum   string `json:"checksum"` // "sha256:…"
	TransferID string `json:"transfer_id"`
	Error      string `json:"error,omitempty"`  // stable code when it failed
	Detail     string `json:"detail,omitempty"` // for people
}

// ReceiveRequest takes files out of the inbox.
type ReceiveRequest struct {
	Peers    []string // whose files; none: any peer of this job
	Channel  string
	Strategy Strategy // All, or One: end after one
	OutDir   string   // "": "incoming"
	Since    *int64   // replay items with a greater sequence first; nil: none

	// Until ends the wait: at that moment, also when it is in the past, the
	// sequence ends without an error if nothing is queued. What is queued or
	// being transferred by then is still given. Zero: wait until ctx ends.
	Until time.Time
	// Ready, if not nil, is called once when the request was found right and
	// waits in line; it is not called when the first thing yielded is an error.
	Ready func()
	// Taken, if not nil, is asked after each loop body whether the item was
	// passed on. nil: it was, unless ctx has ended by then.
	Taken func() bool
}

// Received is one file of the inbox, in the work directory. It is acknowledged
// when the loop body that got it has returned, by break too, unless it was not
// passed on, which Taken says: then it goes back to its place in the inbox.
type Received struct {
	Path     string `json:"path"`
	Size     int64  `json:"size"`
	FromPeer string `json:"from_peer"`
	Sequence int64  `json:"sequence"` // counts the job's inbox items from 0
	Checksum string `json:"checksum"`
	CID      string `json:"cid"`
	Name     string `json:"name"` // as the sender named it
}

// PutRequest takes a file or a directory of the work directory into the store.
type PutRequest struct {
	Path     string
	Pin      bool // keep it after the job
	Announce bool // tell the network
}

// Published is what Put stored.
type Published struct {
	CID      string `json:"cid"`
	Size     int64  `json:"size"`               // bytes of content
	Checksum string `json:"checksum,omitempty"` // of a file
}

// Transfer is what is known of one fetch, send, receive or prefetch.
type Transfer struct {
	ID       string           `json:"id"`
	Kind     string           `json:"kind"`           // "fetch", "prefetch", "send", "receive"
	State    string           `json:"state"`          // "running", "done", "failed", "cancelled"
	Name     string           `json:"name"`           // the reference or the path, without secrets
	Done     int64            `json:"done"`           // bytes
	Total    int64            `json:"total"`          // bytes; -1: not known yet
	From     map[string]int64 `json:"from,omitempty"` // bytes by "origin", "store", "peer", "cache"
	Started  time.Time        `json:"started"`
	Ended    time.Time        `json:"ended,omitzero"`
	Error    string           `json:"error,omitempty"`
	Results  []Result         `json:"results,omitempty"`   // of a fetch or prefetch
	Delivers []Delivered      `json:"delivered,omitempty"` // of a send
	Waiting  *Waiting         `json:"waiting,omitempty"`   // of a send that runs and that nobody waits for
}

// Waiting says that a send is to be tried again.
type Waiting struct {
	Attempts int64     `json:"attempts"` // that failed, of all its peers, in this run of the node
	Next     time.Time `json:"next"`     // the next one, not before others to the same peer
	Error    string    `json:"error"`    // of the last one
}

// Limits bound what a job may use. 0 means the default, negative no limit.
type Limits struct {
	Bytes        int64 `json:"bytes"`         // of files brought into the work directory; default none
	Files        int64 `json:"files"`         // brought into the work directory; default none
	InboundBytes int64 `json:"inbound_bytes"` // in the inbox, not yet received; default none
	InboxItems   int64 `json:"inbox_items"`   // not yet received; default 10,000
	Transfers    int64 `json:"transfers"`     // at once; more wait; default 64
	Rate         int64 `json:"rate"`          // bytes per second, from origins and peers and to peers together; default none
}

// Use is what a job has used of its Limits.
type Use struct {
	Bytes        int64 `json:"bytes"`
	Files        int64 `json:"files"`
	InboundBytes int64 `json:"inbound_bytes"`
	InboxItems   int64 `json:"inbox_items"`
	Transfers    int64 `json:"transfers"`
}

// Scope says who may send to a job.
type Scope struct {
	Job     string   // the id that offers name; "": the job's own
	Channel string   // the channel that it listens on besides those of its receive calls; "": the default
	Peers   []string // who may; none: everybody who names the job
	Secret  string   // an offer must prove that its sender knows it; "": need not
}
