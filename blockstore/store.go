package blockstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"iter"
	"os"
	"time"

	boxoblockstore "github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/blockstore/internal/vfs"
)

// Errors of this package. A missing block, file, alias or record is
// ipld.ErrNotFound (test with ipld.IsNotFound), as boxo's libraries expect.
var (
	// ErrCorrupt says that stored bytes do not hash to their CID any more.
	// The block has been dropped from the index, so that the next fetch gets it
	// again: an error that wraps ErrCorrupt satisfies ipld.IsNotFound as well.
	ErrCorrupt = errors.New("stored bytes do not match their hash")
	// ErrNoSpace says that the file system or the reserve has no room left.
	// It wraps the path and, where the kernel refused, syscall.ENOSPC.
	ErrNoSpace = errors.New("no space left")
	// ErrScattered says that a file does not lie in one segment.
	ErrScattered = errors.New("file does not lie in one piece")
	// ErrInUse says that another process has the repository open.
	ErrInUse = errors.New("repository is in use")
	// ErrVersion says that the repository was written by a newer program.
	ErrVersion = errors.New("repository is of a newer version")
	// ErrClosed says that the store was closed.
	ErrClosed = errors.New("store is closed")
)

// File is one UnixFS file that is stored whole: a recorded root implies that
// every block under it is stored.
type File struct {
	Root   cid.Cid           // top block of the UnixFS DAG
	Size   int64             // bytes of content
	SHA256 [sha256.Size]byte // of the content, not of the DAG
}

// Store keeps blocks by multihash, so that CIDv0 and CIDv1 of the same bytes
// meet, and knows which of them form files. Implementations are safe for
// concurrent use, verify bytes when they enter and again when they leave, and
// answer identity CIDs without storing anything.
//
// Put and PutMany make blocks readable at once and durable at the next Sync;
// FileWriter.Commit, PutFile, PutAlias, Pin, Unpin and Records are durable
// when they return. DeleteBlock of an absent block is no error.
type Store interface { //nolint:interfacebloat // the one contract of the layer; consumers name the part they use
	boxoblockstore.Blockstore // Has Get GetSize Put PutMany DeleteBlock AllKeysChan
	boxoblockstore.Viewer     // View(ctx, cid, func([]byte) error): the bytes are valid during the call only
	Files
	Labels
	Scopes
	io.Closer

	// Keys yields every stored block as CIDv1 raw of its multihash, in no
	// order; an error ends the sequence, so that a cut listing can't look whole.
	Keys(ctx context.Context) iter.Seq2[cid.Cid, error]
	// Sync returns when everything that was put before the call is durable.
	// Concurrent calls share one flush.
	Sync(ctx context.Context) error
}

// Files is the part of a Store that knows whole files.
type Files interface {
	// NewFile begins a file of size bytes, or of unknown size when size < 0.
	// Free space is checked before the first byte: ErrNoSpace.
	NewFile(ctx context.Context, size int64) (FileWriter, error)
	// File returns the record of the file with that root. A raw sha2-256 root
	// is a file of one leaf and needs no record: its digest is its SHA256.
	File(ctx context.Context, root cid.Cid) (File, error)
	// PutFile records a file whose blocks are all stored already, with its
	// aliases ("sha256:<hex>" is added by itself), durably: everything that was
	// put before the call as well, as by Sync.
	PutFile(ctx context.Context, f File, aliases map[string][]byte) error
	// OpenFile opens the content of a file that lies in one segment, for reads
	// in order, reflinks and copies inside the kernel; ErrScattered when it
	// does not. The bytes are NOT verified: the caller compares them with the
	// leaf hashes. The caller closes it.
	OpenFile(ctx context.Context, root cid.Cid) (*Content, error)
}

// FileWriter takes one whole file into the store. WriteLeaf and PutNode may be
// called concurrently and in any order; the caller has verified that the bytes
// hash to c. After Commit or Abort (one of which must be called; Abort after
// Commit does nothing) the writer is spent. One that is an io.ReaderAt too lets
// what WriteLeaf has taken be read before that, not verified.
type FileWriter interface {
	// WriteLeaf stores data, the block c, at byte offset off of the content.
	WriteLeaf(off int64, c cid.Cid, data []byte) error
	// PutNode stores an inner node of the DAG.
	PutNode(blk blocks.Block) error
	// Commit makes the data durable, then records all blocks, the file and its
	// aliases ("sha256:<hex>" is added by itself). When the store has the file
	// already, the new copy is dropped.
	Commit(ctx context.Context, f File, aliases map[string][]byte) error
	// Abort forgets everything that was written.
	Abort() error
}

// Content is the open content of one file inside a segment: Size bytes that
// begin at offset Off of the embedded file.
type Content struct {
	*os.File
	Off  int64 // bytes
	Size int64 // bytes

	bulk vfs.File // File, read past the kernel's cache where that is better; may be nil
}

// ReadAt reads at an offset of the embedded file.
func (c *Content) ReadAt(p []byte, off int64) (int, error) {
	if c.bulk == nil {
		return c.File.ReadAt(p, off)
	}
	return c.bulk.ReadAt(p, off)
}

// Close closes the file.
func (c *Content) Close() error {
	if c.bulk == nil {
		return c.File.Close()
	}
	return c.bulk.Close()
}

// Scopes is the part of a Store that knows who may have what. What is put through
// the store itself is for everybody, and everything can be read through it.
type Scopes interface {
	// Scope returns the store as a scope sees it, or as everybody does if name is
	// "": a block that is private to others is not found, under whatever codec it
	// is asked for, and neither is its file. What is put through it is private to
	// the scope, unless it has been put for everybody; it is for everybody if name
	// is "". Blocks that are private and no file's are for nobody else until their
	// root is admitted. To close it is to close the store.
	Scope(name string) Store
	// Audience returns who may have a block; ipld.ErrNotFound if it is not stored.
	Audience(ctx context.Context, c cid.Cid) (Audience, error)
	// Admit adds a scope to the audience of a root that is private, durably, and
	// to that of all blocks that lie in its segment. Nothing is changed of what is
	// for everybody.
	Admit(ctx context.Context, root cid.Cid, scope string) error
}

// Labels is the part of a Store that names roots: aliases and pins.
type Labels interface {
	// Alias returns what the alias key ("sha256:…", "gitsha1:…",
	// "hf:repo@commit/path", "url:…") stands for.
	Alias(ctx context.Context, key string) (Alias, error)
	// PutAlias sets an alias, replacing an older one.
	PutAlias(ctx context.Context, key string, a Alias) error
	// Pin keeps a DAG from garbage collection under a name; pinning the same
	// root and name again replaces the pin. What was put before the call is durable
	// with it, as by Sync.
	Pin(ctx context.Context, p Pin) error
	// Unpin removes one pin; ipld.ErrNotFound when there is none.
	Unpin(ctx context.Context, root cid.Cid, name string) error
	// Pins yields all pins.
	Pins(ctx context.Context) iter.Seq2[Pin, error]
}

// Alias is another identity of a file.
type Alias struct {
	Root cid.Cid
	Meta []byte // JSON of the connector that made it (validator, time); may be empty
}

// Pin keeps everything under Root.
type Pin struct {
	Root    cid.Cid
	Name    string    // free text, "" is the default pin; a job's pins are "job:<id>"
	Created time.Time // zero: now
	// Expires is when the pin ends, zero for never: from then on it is as if it had
	// been removed.
	Expires time.Time
	Owner   string // who set it, free text of MaxOwner bytes at most; "" is nobody in particular
}

// MaxOwner is the longest Pin.Owner, in bytes.
const MaxOwner = 256

// Expired tells whether the pin has ended.
func (p Pin) Expired(now time.Time) bool { return !p.Expires.IsZero() && !now.Before(p.Expires) }

// Records is a small durable map for other packages (jobs, inbox), ordered by
// key. Get of an absent key is ipld.ErrNotFound.
type Records interface {
	Get(ctx context.Context, key string) ([]byte, error)
	Put(ctx context.Context, key string, value []byte) error
	Delete(ctx context.Context, key string) error
	All(ctx context.Context, prefix string) iter.Seq2[Record, error]
}

// Record is one entry of Records.
type Record struct {
	Key   string
	Value []byte
}
