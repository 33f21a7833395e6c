package dag

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"strings"

	"github.com/hypha-node/hypha-node/internal/safename"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// errStop ends a walk whose consumer wants no more.
var errStop = errors.New("stop")

// Info says what a block is the root of.
type Info struct {
	Cid    cid.Cid
	Type   Type
	Size   int64  // bytes of content of a file, as its root claims; 0 for others
	Block  int    // bytes of the root block
	Links  int    // of the root block
	Target string // of a symlink
}

// Stat looks at the root block of a file, directory or symlink.
func Stat(ctx context.Context, src Getter, c cid.Cid) (Info, error) {
	data, err := getBlock(ctx, src, c)
	if err != nil {
		return Info{}, err
	}
	n, err := decodeNode(c, data)
	if err != nil {
		return Info{}, err
	}
	return n.info(c, len(data)), nil
}

func (n *node) info(c cid.Cid, block int) Info {
	i := Info{Cid: c, Type: n.typ(), Block: block, Links: len(n.links)}
	switch i.Type {
	case TypeFile:
		i.Size = n.size
	case TypeSymlink:
		i.Target = string(n.data)
	}
	return i
}

// entries yields the entries of the directory n, whose block is c, in the order
// of the DAG: those of shards in the order of their hashes. Names are judged,
// and no two are alike, in any case.
func (n *node) entries(ctx context.Context, src Getter, c cid.Cid, g *guard) iter.Seq2[link, error] {
	return func(yield func(link, error) bool) {
		first := g.enter(c)
		names := g.limits.names(len(n.links))
		each := func(l link) error {
			if err := g.entry(c, first); err != nil {
				return err
			}
			if err := names.add(l.name); err != nil {
				return malformed(c, "%v", err)
			}
			if !yield(l, nil) {
				return errStop
			}
			return nil
		}
		var err error
		switch n.kind {
		case fsDir:
			for _, l := range n.links {
				if err = each(l); err != nil {
					break
				}
			}
		case fsShard:
			err = n.walkShard(ctx, src, c, 0, 0, each)
		default:
			err = fmt.Errorf("%s is a %s: %w", c, n.typ(), ErrNotDir)
		}
		if err != nil && !errors.Is(err, errStop) {
			yield(link{}, err)
		}
	}
}

// walkShard calls each with the entries below a shard.
func (n *node) walkShard(ctx context.Context, src Getter, c cid.Cid, depth int, prefix uint64, each func(link) error) error {
	type part struct {
		index int
		name  string
		link  link
	}
	parts := make([]part, 0, len(n.links))
	err := n.shardLinks(depth, prefix, func(i int, name string, l link) error {
		parts = append(parts, part{i, name, l})
		return nil
	})
	if err != nil {
		return malformed(c, "%v", err)
	}
	for _, p := range parts {
		if p.name != "" {
			p.link.name = p.name
			if err := each(p.link); err != nil {
				return err
			}
			continue
		}
		sub, err := deeperShard(ctx, src, p.link.cid, n)
		if err != nil {
			return err
		}
		if err := sub.walkShard(ctx, src, p.link.cid, depth+1, prefix*n.fanout+uint64(p.index), each); err != nil {
			return err
		}
	}
	return nil
}

// List yields the entries of one directory in the order of the DAG. An entry's
// Path is its name, its Size that of a file. It ends at the first error.
func List(ctx context.Context, src Getter, c cid.Cid) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		n, err := getNode(ctx, src, c)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		for e, err := range children(ctx, src, n.entries(ctx, src, c, newGuard(Limits{}))) {
			if !yield(e.Entry, err) || err != nil {
				return
			}
		}
	}
}

// Walk yields everything below c, and c itself first with the path "": parents
// before children, paths of safe names only. It ends at the first error.
func Walk(ctx context.Context, src Getter, c cid.Cid, o Limits) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		w := walk{src: src, guard: newGuard(o), yield: yield}
		e, err := child(ctx, src, link{cid: c})
		if err == nil {
			err = w.entry(ctx, e.Entry, e.node)
		}
		if err != nil && !errors.Is(err, errStop) {
			yield(Entry{}, err)
		}
	}
}

type walk struct {
	src   Getter
	guard *guard
	yield func(Entry, error) bool
}

func (w *walk) entry(ctx context.Context, e Entry, n *node) error {
	if err := w.guard.file(e.Size); err != nil {
		return fmt.Errorf("%q: %w", e.Path, err)
	}
	if !w.yield(e, nil) {
		return errStop
	}
	if e.Type != TypeDir {
		return nil
	}
	for sub, err := range children(ctx, w.src, n.entries(ctx, w.src, e.Cid, w.guard)) {
		if err != nil {
			return fmt.Errorf("%q: %w", e.Path, err)
		}
		if sub.Path, err = join(e.Path, sub.Path); err != nil {
			return err
		}
		if err := w.entry(ctx, sub.Entry, sub.node); err != nil {
			return err
		}
	}
	return nil
}

// join returns the path of an entry of the directory dir, or an error when that
// is too long or too deep for a path.
func join(dir, name string) (string, error) {
	if dir == "" {
		return name, nil
	}
	if len(dir)+1+len(name) > safename.MaxPath || strings.Count(dir, "/")+2 > safename.MaxDepth {
		return "", fmt.Errorf("%.100q…: path too long or too deep: %w", dir, ErrTooLarge)
	}
	return dir + "/" + name, nil
}

// Resolve follows the names of a slash-separated path down from root. Empty
// names are skipped, so that "" is root itself. What is not there is
// fs.ErrNotExist; symlinks are not followed.
func Resolve(ctx context.Context, src Getter, root cid.Cid, p string) (cid.Cid, error) {
	c := root
	for name := range strings.SplitSeq(p, "/") {
		if name == "" {
			continue
		}
		n, err := getNode(ctx, src, c)
		if err != nil {
			return cid.Undef, err
		}
		var l link
		switch n.kind {
		case fsDir:
			l, err = n.find(name)
		case fsShard:
			l, err = findShard(ctx, src, c, n, name)
		default:
			err = ErrNotDir
		}
		if err != nil {
			if ipld.IsNotFound(err) {
				return cid.Undef, err
			}
			return cid.Undef, fmt.Errorf("%q in %s: %w", name, c, err)
		}
		c = l.cid
	}
	return c, nil
}

// find returns the link of an entry of a directory that is one block.
func (n *node) find(name string) (link, error) {
	for _, l := range n.links {
		if l.name == name {
			return l, nil
		}
	}
	return link{}, fs.ErrNotExist
}
