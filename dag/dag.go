package dag

import (
	"context"
	"errors"

	"github.com/hypha-node/hypha-node/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
)

// Errors of this package. A missing block is ipld.ErrNotFound.
var (
	ErrNotFile    = errors.New("not a file")                       // a directory or symlink where a file is needed
	ErrNotDir     = errors.New("not a directory")                  // a file or symlink where a directory is needed
	ErrMalformed  = errors.New("malformed DAG")                    // broken or hostile: what it claims is not what is there
	ErrTooLarge   = errors.New("too large")                        // beyond a limit of the caller or of this package
	ErrExists     = errors.New("exists with different content")    // Export without Force
	ErrNoProgress = errors.New("no progress")                      // Copy: nobody sends what is missing; the message names the CID
	ErrChanged    = errors.New("file changed while it was read")   // Import of a file that somebody writes to
	ErrSymlink    = errors.New("symlink refused")                  // Export: not asked for, or it leaves the tree
	ErrSpecial    = errors.New("neither file, directory nor link") // ImportTree met a device, FIFO or socket
)

// Bounds that hold for every DAG.
const (
	maxBlock = 2 << 20        // bytes of a block: what bitswap carries, docs/terms.md
	maxLeaf  = 2<<20 - 256    // bytes of content in a leaf; boxo's chunk limit
	maxDepth = 64             // nodes from a root down to a leaf
	window   = 28 << 20       // bytes of content that are under way at once: eight files and what belongs to them stay below 256 MiB
	maxFile  = int64(1) << 60 // bytes of a file; sums of sizes can't overflow below it
)

// File is one file that is stored whole.
type File = blockstore.File

// Getter hands out blocks whose bytes have been verified against their CID.
// blockstore.Store is one. It must be safe for concurrent use.
type Getter interface {
	Get(ctx context.Context, c cid.Cid) (blocks.Block, error)
}

// Fetcher asks peers for blocks. GetBlocks sends each block of cs that it can
// get, in any order, verified (built from its bytes and their hash), and closes
// the channel when all have been sent or ctx is done.
type Fetcher interface {
	GetBlocks(ctx context.Context, cs []cid.Cid) (<-chan blocks.Block, error)
}

// Guide is a Fetcher that Copy tells what a node links to, in order, before it asks
// for any of the links. Links may be called from any goroutine.
type Guide interface {
	Fetcher
	Links(node cid.Cid, links []cid.Cid)
}

// Type is what an entry is.
type Type uint8

// The types of UnixFS that this package handles.
const (
	TypeFile    Type = iota + 1 // also a raw block
	TypeDir                     // one block or sharded
	TypeSymlink                 // its target is not followed
)

// String returns "file", "dir" or "symlink".
func (t Type) String() string {
	switch t {
	case TypeFile:
		return "file"
	case TypeDir:
		return "dir"
	case TypeSymlink:
		return "symlink"
	}
	return "unknown"
}

// Entry is one file, directory or symlink of a tree.
type Entry struct {
	Path   string    // slash-separated, relative to the root of the tree, which is ""; one segment in List
	Cid    cid.Cid   // its root
	Size   int64     // bytes of content of a file (of a raw block that is not in a store, as its link claims); of a directory, of its files together where that is known, else 0
	SHA256 *[32]byte // of a file's content, where it is known
	Type   Type
	Target string // of a symlink, as recorded; judge it before use
	Saved  int64  // of what came from peers: bytes that did not go over the wire, since they packed blocks; < 0 where that made them larger
}
