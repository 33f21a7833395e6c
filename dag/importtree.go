package dag

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/internal/safename"
	blocks "github.com/ipfs/go-block-format"
	"golang.org/x/sync/errgroup"
)

// TreeOptions say how a tree is taken in. Of the ImportOptions, Size, Tee and Also
// are of no effect; Limit is for all files together. Accept is asked for each file,
// one at a time; it returns no aliases.
type TreeOptions struct {
	ImportOptions
	// Hidden takes in what begins with a dot; it is left out otherwise. The
	// name that ImportTree was called with is always taken in.
	Hidden bool
	// OnEntry is told of each entry when it is stored, a directory's after those
	// in it, one at a time, from any goroutine.
	OnEntry func(Entry)
}

// ImportTree takes in the file, directory or symlink name below dir. Symlinks
// are kept as they are and never followed. What it returns is stored durably.
//
// One goroutine lists directories; workers read files, one pooled batch of
// blocks each; files of several leaves are taken in one after the other, each
// by all cores. A directory is encoded and stored when its last entry is.
func ImportTree(ctx context.Context, dst blockstore.Store, dir *os.Root, name string, o TreeOptions) (Entry, error) {
	im := &treeImporter{TreeOptions: o, dst: dst, jobs: make(chan job, 64), open: make(map[*os.Root]bool)}
	g, gctx := errgroup.WithContext(ctx)
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error { return im.work(gctx) })
	}
	g.Go(func() error {
		defer close(im.jobs)
		return im.walkRoot(gctx, dir, name)
	})
	if err := errors.Join(g.Wait(), im.closeAll()); err != nil {
		return Entry{}, fmt.Errorf("import %s: %w", name, err)
	}
	if !o.HashOnly {
		if err := dst.Sync(ctx); err != nil {
			return Entry{}, err
		}
	}
	return im.root, nil
}

type treeImporter struct {
	TreeOptions
	dst   blockstore.Store
	jobs  chan job
	total atomic.Int64 // bytes of content so far
	root  Entry
	large sync.Mutex // one file of several leaves at a time: each has a window of its own
	told  sync.Mutex // of OnEntry and Accept

	opened sync.Mutex
	open   map[*os.Root]bool // directories that are being taken in
}

// dir is a directory that is being taken in. The one that brings pending to
// zero encodes it.
type dir struct {
	root    *os.Root // open until all entries are done
	top     bool     // the one that does not exist, around the root
	up      *dir     // nil for the top
	index   int      // in up.links
	path    string
	links   []link
	size    atomic.Int64 // bytes of content below
	pending atomic.Int64 // entries that are not stored, and one while it is listed
}

// job is one entry of a directory: in.links[index]. With encode it is the
// directory in itself, all of whose entries are done.
type job struct {
	in     *dir
	index  int
	name   string
	path   string
	typ    fs.FileMode
	encode bool
}

// walkRoot puts the entry name in a directory that does not exist, so that it
// is handled as any other.
func (im *treeImporter) walkRoot(ctx context.Context, root *os.Root, name string) error {
	top := &dir{root: root, top: true}
	info, err := root.Lstat(name)
	if err != nil {
		return err
	}
	return im.entry(ctx, top, 0, name, "", info.Mode().Type())
}

// entry hands one entry to the workers, or lists it when it is a directory.
func (im *treeImporter) entry(ctx context.Context, in *dir, index int, name, p string, typ fs.FileMode) error {
	switch typ {
	case 0, fs.ModeSymlink:
		return im.send(ctx, job{in: in, index: index, name: name, path: p, typ: typ})
	case fs.ModeDir:
		return im.list(ctx, in, index, name, p)
	}
	return fmt.Errorf("%q is a %s: %w", cmp.Or(p, name), kind(typ), ErrSpecial)
}

func (im *treeImporter) send(ctx context.Context, j job) error {
	select {
	case im.jobs <- j:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// list walks the directory name in up.
func (im *treeImporter) list(ctx context.Context, up *dir, index int, name, p string) error {
	if strings.Count(p, "/") >= safename.MaxDepth {
		return fmt.Errorf("%q is too deep: %w", p, ErrTooLarge)
	}
	root, err := up.root.OpenRoot(name)
	if err != nil {
		return err
	}
	im.opened.Lock()
	im.open[root] = true
	im.opened.Unlock()
	d := &dir{root: root, up: up, index: index, path: p}
	names, err := im.readDir(root)
	if err != nil {
		return err
	}
	d.links = make([]link, len(names))
	d.pending.Store(int64(len(names)) + 1)
	for i, e := range names {
		if err := safename.Segment(e.Name()); err != nil {
			return err
		}
		d.links[i].name = e.Name()
		if err := im.entry(ctx, d, i, e.Name(), path.Join(p, e.Name()), e.Type()); err != nil {
			return err
		}
	}
	if d.pending.Add(-1) == 0 { // the workers were faster, or there is nothing in it
		return im.send(ctx, job{in: d, encode: true})
	}
	return nil
}

// close closes a directory all of whose entries are done.
func (im *treeImporter) close(root *os.Root) error {
	im.opened.Lock()
	defer im.opened.Unlock()
	delete(im.open, root)
	return root.Close()
}

// closeAll closes the directories that a failed import left open.
func (im *treeImporter) closeAll() error {
	var errs []error
	for root := range im.open {
		errs = append(errs, root.Close())
	}
	return errors.Join(errs...)
}

// readDir returns what is to be taken in of a directory, in the order of a DAG.
func (im *treeImporter) readDir(root *os.Root) ([]fs.DirEntry, error) {
	f, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	names, err := f.ReadDir(-1)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if !im.Hidden {
		names = slices.DeleteFunc(names, func(e fs.DirEntry) bool { return strings.HasPrefix(e.Name(), ".") })
	}
	slices.SortFunc(names, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return names, nil
}

// kind names what can't be taken in.
func kind(typ fs.FileMode) string {
	switch {
	case typ&fs.ModeNamedPipe != 0:
		return "FIFO"
	case typ&fs.ModeSocket != 0:
		return "socket"
	case typ&fs.ModeDevice != 0:
		return "device"
	}
	return "special file"
}

// accept asks whether a file may be stored.
func (im *treeImporter) accept(f File) (map[string][]byte, error) {
	if im.Accept == nil {
		return nil, nil
	}
	im.told.Lock()
	defer im.told.Unlock()
	_, err := im.Accept(f)
	return nil, err
}

// add accounts for n bytes of content.
func (im *treeImporter) add(n int64) error {
	total := im.total.Add(n)
	if im.Limit > 0 && total > im.Limit {
		return fmt.Errorf("content of more than %d bytes: %w", im.Limit, ErrTooLarge)
	}
	return nil
}

// stored is called when the block of an entry is in the store, with the link
// to it. It returns the directory that this was the last entry of, if any.
func (im *treeImporter) stored(j job, l link, e Entry) *dir {
	if im.OnEntry != nil {
		im.told.Lock()
		im.OnEntry(e)
		im.told.Unlock()
	}
	if j.in.top {
		im.root = e
		return nil
	}
	l.name = j.in.links[j.index].name
	j.in.links[j.index] = l
	j.in.size.Add(e.Size)
	if j.in.pending.Add(-1) == 0 {
		return j.in
	}
	return nil
}

// encode builds the blocks of a directory, children before parents, and the
// link to the last of them.
func (p Profile) encodeDir(links []link, put func(blocks.Block) error) (link, error) {
	size, below := 0, uint64(0)
	for _, l := range links {
		if p.v0 {
			size += len(l.name) + l.cid.ByteLen()
		} else {
			size += linkSize(l)
		}
		below += l.size
	}
	if !p.v0 {
		size = dirSize(size)
	}
	if size > shardAbove {
		return p.shard(links, put)
	}
	blk := pbBlock(p, links, dirData())
	return newLink(blk.Cid(), len(blk.RawData()), below), put(blk)
}
