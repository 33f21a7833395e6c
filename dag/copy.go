package dag

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/internal/sha256pair"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	"golang.org/x/sync/errgroup"
)

// CopyOptions say how a DAG is copied. The zero value is ready to use.
type CopyOptions struct {
	// Tee and Also get the content of a file, as Import's do, even when it is
	// stored already. They are of no effect for a directory.
	Tee  io.WriterAt
	Also []io.Writer
	// Accept is called, for a file only, when everything is known and before
	// anything is recorded. It returns aliases to record; its error discards
	// the content.
	Accept func(File) (aliases map[string][]byte, err error)
	// Progress gets the bytes of content taken in since its last call; it is
	// called from any goroutine, also several at once.
	Progress func(n int64)
	// Pace gets the bytes of each block that came from src, and returns when the
	// next may come; its error ends Copy. It is called from any goroutine, also
	// several at once; nil is no bound.
	Pace func(ctx context.Context, n int) error
	// Stall is how long no block may come before OnStall is told a CID that is
	// missing, and again after as long; 0 means 15 s.
	Stall time.Duration
	// Timeout is how long no block may come before Copy gives up with
	// ErrNoProgress; 0 means 30 s.
	Timeout time.Duration
	// OnStall must return soon; nil is nobody.
	OnStall func(missing cid.Cid)
	// Keep keeps what has come of a file of raw leaves while the rest comes, where
	// the store is a KeepStore: whatever ends Copy, the process with it or not, the
	// next Copy of the same file with Keep asks for all but that, at most 32 MiB of
	// which had come.
	Keep bool
	// KeepAs, if it has a name, is what that is kept as in place of the file's root: so
	// that another root of the same content goes on with it if it has the same leaves,
	// and so does Resume for an Import whose profile gives those.
	KeepAs Keep
	// Late leaves a file that is one block and needs no record to be made durable by
	// the next Sync or Pin of the store, which the caller has follow.
	Late   bool
	Limits Limits
}

// Copy takes the file, directory tree or symlink with that root into dst, from
// there where it is stored already and from peers where it is not. Children are
// stored before their parents, a file is recorded when all of it is there, and
// what Copy returns is stored durably (but see Late). A file of raw leaves becomes
// one segment.
//
// Blocks from src have been verified by whoever built them (bitswap computes a
// block's CID from its bytes) and are not hashed against it once more; what
// they claim about others is checked.
func Copy(ctx context.Context, dst blockstore.Store, src Fetcher, root cid.Cid, o CopyOptions) (Entry, error) {
	if o.Stall <= 0 {
		o.Stall = 15 * time.Second
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	if err := checkCID(root); err != nil {
		return Entry{}, err
	}
	c := &copyJob{CopyOptions: &o, dst: dst, wants: newWants(src, &o)}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.wants.run(gctx) })
	var e Entry
	g.Go(func() (err error) {
		defer c.wants.stop()
		e, err = c.root(gctx, root)
		return err
	})
	if err := g.Wait(); err != nil {
		return Entry{}, fmt.Errorf("copy %s: %w", root, err)
	}
	return e, nil
}

// copyJob is one Copy.
type copyJob struct {
	*CopyOptions
	dst   blockstore.Store
	wants *wants
}

// root copies the DAG with that root.
func (c *copyJob) root(ctx context.Context, root cid.Cid) (Entry, error) {
	if f, ok, err := c.stored(ctx, root); err != nil || ok {
		if err == nil {
			err = c.again(ctx, f)
		}
		return fileEntry(f), err
	}
	data, err := c.block(ctx, root)
	if err != nil {
		return Entry{}, err
	}
	n, err := decodeNode(root, data)
	if err != nil {
		return Entry{}, err
	}
	switch {
	case n.typ() == TypeDir:
		return c.tree(ctx, root, data, n)
	case n.typ() == TypeSymlink:
		err := c.dst.Put(ctx, newBlock(root, data))
		if err == nil {
			err = c.dst.Sync(ctx)
		}
		return Entry{Cid: root, Type: TypeSymlink, Target: string(n.data)}, err
	case n.size > newGuard(c.Limits).limits.Bytes:
		return Entry{}, fmt.Errorf("%d bytes: %w", n.size, ErrTooLarge)
	case len(n.links) == 0:
		f, err := c.leaf(ctx, root, data, n)
		return fileEntry(f), err
	}
	f, err := c.file(ctx, root, data, n, window)
	return fileEntry(f), err
}

func fileEntry(f File) Entry {
	return Entry{Cid: f.Root, Type: TypeFile, Size: f.Size, SHA256: &f.SHA256}
}

// stored tells whether a root is that of a file that is stored whole.
func (c *copyJob) stored(ctx context.Context, root cid.Cid) (File, bool, error) {
	f, err := c.dst.File(ctx, root)
	if ipld.IsNotFound(err) {
		return File{}, false, nil
	}
	return f, err == nil, err
}

// again does for a stored file what is asked for beside storing it.
func (c *copyJob) again(ctx context.Context, f File) (err error) {
	r, err := Open(ctx, c.dst, f.Root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if c.Tee != nil {
		if err := r.CopyAt(ctx, c.Tee, nil); err != nil {
			return err
		}
	}
	if len(c.Also) > 0 {
		if _, err := r.CopyRange(ctx, writers(c.Also), 0, -1); err != nil {
			return err
		}
	}
	aliases, err := c.accept(f)
	if err != nil || len(aliases) == 0 {
		return err
	}
	return c.dst.PutFile(ctx, f, aliases)
}

func (c *copyJob) accept(f File) (map[string][]byte, error) {
	if c.Accept == nil {
		return nil, nil
	}
	return c.Accept(f)
}

func (c *copyJob) progress(n int64) {
	if c.Progress != nil {
		c.Progress(n)
	}
}

// leaf records a file that is one block.
func (c *copyJob) leaf(ctx context.Context, root cid.Cid, data []byte, n *node) (File, error) {
	f := File{Root: root, Size: n.size, SHA256: sha256.Sum256(n.data)}
	if c.Tee != nil && n.size > 0 {
		if _, err := c.Tee.WriteAt(n.data, 0); err != nil {
			return File{}, err
		}
	}
	if _, err := writers(c.Also).Write(n.data); err != nil {
		return File{}, err
	}
	aliases, err := c.accept(f)
	if err != nil {
		return File{}, err
	}
	if err := c.dst.Put(ctx, newBlock(root, data)); err != nil {
		return File{}, err
	}
	c.progress(f.Size)
	raw := root.Type() == cid.Raw && isSHA256(root)
	if c.Late && recordless(c.dst, aliases, raw) {
		return f, nil
	}
	return f, record(ctx, c.dst, f, aliases, raw)
}

// block returns a block from the store, or else from peers.
func (c *copyJob) block(ctx context.Context, id cid.Cid) ([]byte, error) {
	data, _, err := c.stepped(ctx, id)
	return data, err
}

// stepped is block, and returns what the bytes do to the hash of the content that they
// are part of, if whoever verified them found out.
func (c *copyJob) stepped(ctx context.Context, id cid.Cid) ([]byte, sha256pair.Step, error) {
	data, err := getBlock(ctx, c.dst, id)
	if !ipld.IsNotFound(err) {
		return data, sha256pair.Step{}, err
	}
	return c.wants.stepped(ctx, id)
}

// expect asks for a block that is not in the store, and returns who waits for it; nil
// when it is for stepped to find out. What is expected one after the other is asked for
// in that order.
func (c *copyJob) expect(ctx context.Context, id cid.Cid) *want {
	if _, inline := identity(id); inline || checkCID(id) != nil {
		return nil
	}
	if has, err := c.dst.Has(ctx, id); has || err != nil {
		return nil
	}
	return c.wants.want(id)
}

// Get makes a copyJob the Getter of inner nodes.
func (c *copyJob) Get(ctx context.Context, id cid.Cid) (blocks.Block, error) {
	data, err := c.block(ctx, id)
	if err != nil {
		return nil, err
	}
	return newBlock(id, data), nil
}

// guide tells a Guide what a node links to.
func (c *copyJob) guide(id cid.Cid, n *node) {
	g, ok := c.wants.src.(Guide)
	if !ok || len(n.links) == 0 {
		return
	}
	cs := make([]cid.Cid, len(n.links))
	for i, l := range n.links {
		cs[i] = l.cid
	}
	g.Links(id, cs)
}

// writers gives the same bytes to each.
type writers []io.Writer

func (w writers) Write(p []byte) (int, error) {
	for _, w := range w {
		if _, err := w.Write(p); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}
