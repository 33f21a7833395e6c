package dag

import (
	"context"
	"fmt"

	"github.com/hypha-node/hypha-node/internal/safename"
	"github.com/ipfs/go-cid"
)

// survey looks at a tree before anything of it is written: every directory
// once, however often it is shown.
type survey struct {
	src      Getter
	guard    *guard // counts each directory once, so it bounds the survey itself
	symlinks bool   // are allowed where they stay in the tree
	known    map[string]extent
}

// extent is what a directory amounts to when it is written out.
type extent struct {
	entries int64 // below it
	bytes   int64 // of content below it
	depth   int   // segments of the deepest path below it
	path    int   // bytes of the longest path below it
	up      int   // directories that a symlink below it goes up beyond it
}

// beyond is more than any limit; sums stop there and don't overflow.
const beyond = int64(1) << 61

// surveyTree returns an error when the directory n, whose block is c, is not fit
// to be written: names, sizes, numbers, what is missing, symlinks that leave.
func surveyTree(ctx context.Context, src Getter, c cid.Cid, n *node, o *ExportOptions) error {
	s := &survey{src: src, guard: newGuard(o.Limits), symlinks: o.Symlinks, known: make(map[string]extent)}
	x, err := s.dir(ctx, c, n, 0)
	switch limits := s.guard.limits; {
	case err != nil:
		return err
	case x.entries > limits.Entries:
		return fmt.Errorf("directory %s: more than %d entries in all: %w", c, limits.Entries, ErrTooLarge)
	case x.entries > freeEntries+perDistinct*s.guard.entries:
		return fmt.Errorf("directory %s: the same directories over and over: %w", c, ErrTooLarge)
	case x.bytes > limits.Bytes:
		return fmt.Errorf("directory %s: more than %d bytes in all: %w", c, limits.Bytes, ErrTooLarge)
	case x.depth > safename.MaxDepth || x.path > safename.MaxPath:
		return fmt.Errorf("directory %s: paths too long or too deep: %w", c, ErrTooLarge)
	case x.up > 0:
		return fmt.Errorf("directory %s: a symlink leads out of the tree: %w", c, ErrSymlink)
	}
	return nil
}

func (s *survey) dir(ctx context.Context, c cid.Cid, n *node, depth int) (x extent, err error) {
	if depth > safename.MaxDepth {
		return extent{}, fmt.Errorf("directory %s: paths too deep: %w", c, ErrTooLarge)
	}
	for e, err := range children(ctx, s.src, n.entries(ctx, s.src, c, s.guard)) {
		if err != nil {
			return extent{}, err
		}
		below := extent{bytes: e.Size}
		switch e.Type {
		case TypeSymlink:
			up, ok := climb(e.Target)
			if !ok || !s.symlinks {
				return extent{}, fmt.Errorf("%q: points to %.100q: %w", e.Path, e.Target, ErrSymlink)
			}
			x.up = max(x.up, up)
		case TypeDir:
			known, ok := s.known[string(e.Cid.Hash())]
			if !ok {
				if known, err = s.dir(ctx, e.Cid, e.node, depth+1); err != nil {
					return extent{}, fmt.Errorf("%q: %w", e.Path, err)
				}
				s.known[string(e.Cid.Hash())] = known
			}
			below = known
			x.up = max(x.up, below.up-1)
		case TypeFile:
		}
		x.entries = min(x.entries+1+below.entries, beyond)
		x.bytes = min(x.bytes+below.bytes, beyond)
		x.depth = max(x.depth, 1+below.depth)
		x.path = max(x.path, len(e.Path)+1+below.path)
	}
	return x, nil
}
