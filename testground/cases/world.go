package cases

import (
	"context"
	"time"
)

// World is the swarm as one instance of a case sees it. Its methods are called
// by one goroutine at a time.
type World interface {
	// Index is this instance's, from 0. Seeds come first.
	Index() int
	// Sync waits until every instance has come to the point of that name.
	Sync(ctx context.Context, point string) error
	// Share returns what every instance gives for the topic, by index. A topic
	// is used once.
	Share(ctx context.Context, topic string, value []byte) ([][]byte, error)
	// Node is the instance's node.
	Node() Node
	// Origin is where a server has the content of the case, and how many bytes it has
	// sent on the wire; "" if there is none.
	Origin(ctx context.Context) (url string, sent int64, err error)
	// Now is the time that links are shaped in.
	Now() time.Time
}

// Node is one node of the swarm.
type Node interface {
	// Address is where others reach it: a multiaddr that ends in its peer id.
	Address() string
	// Connect connects to another node.
	Connect(ctx context.Context, address string) error
	// Add stores noise of a size in bytes, in blocks of 256 KiB unless chunk, in
	// bytes, says otherwise, and returns its CID. The same arguments give the
	// same content everywhere.
	Add(ctx context.Context, size, chunk int64) (cid string, err error)
	// Fetch has a job fetch content, by its CID or by a URL and its sha256, into its
	// work directory, and returns how many bytes of the file there it has read back
	// and found to be those of Add.
	Fetch(ctx context.Context, ref string, size int64) (int64, error)
	// Leave disconnects from everybody, for good.
	Leave(ctx context.Context) error
	Meter
}

// Meter counts what a node moves.
type Meter interface {
	// Received is how many bytes it has received on the wire since it was started. It
	// costs little.
	Received() int64
	// Traffic is what it has moved since it was started.
	Traffic(ctx context.Context) (Traffic, error)
}

// Restarter is a Node that can be started again.
type Restarter interface {
	// Restart ends the node in the middle of what it does, and starts it again on
	// its files, with the same identity and without connections. What it has moved
	// is counted on. abandon has the calls that run return.
	Restart(ctx context.Context, abandon func()) error
}

// Traffic is what a node has moved, in bytes.
type Traffic struct {
	Sent     int64 `json:"sent"`     // on the wire
	Received int64 `json:"received"` // on the wire
	Content  int64 `json:"content"`  // of blocks, received; 0 when it is not known
	Double   int64 `json:"double"`   // of blocks that were here already, received
	Control  int64 `json:"control"`  // sent by what moves blocks, that were not of blocks; 0 when it is not known
}

// minus returns what was moved since an earlier moment.
func (t Traffic) minus(o Traffic) Traffic {
	return Traffic{t.Sent - o.Sent, t.Received - o.Received, t.Content - o.Content, t.Double - o.Double, t.Control - o.Control}
}
