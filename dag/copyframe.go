package dag

import (
	"context"
	"errors"
	"fmt"

	"github.com/hypha-node/hypha-node/internal/safename"
	"github.com/ipfs/go-cid"
)

// frame is what is known of a dag-pb block of the tree.
type frame struct {
	cid     cid.Cid
	ups     []*frame // directories that wait for it, once for each entry
	done    bool     // stored, with all that is below it
	size    int64    // bytes of content below
	data    []byte   // the block of a directory, until it is stored
	links   []link   // entries that are not started
	pending int      // entries that are not stored
	node    *node    // a shard's or directory's, without links
	depth   int      // directories above
	shards  int      // shards above, of the same directory
	prefix  uint64   // bits of the hash that lead to this shard
}

// judge refuses what could not be exported: names, and shards out of place.
func (f *frame) judge(n *node, names names) error {
	if f.depth > safename.MaxDepth {
		return fmt.Errorf("directory %s: deeper than %d: %w", f.cid, safename.MaxDepth, ErrTooLarge)
	}
	var err error
	if n.kind == fsShard {
		err = n.shardLinks(f.shards, f.prefix, func(_ int, name string, l link) error {
			switch {
			case name != "":
				return names.add(name)
			case l.cid.Type() == cid.Raw:
				return errors.New("a shard that is a raw block")
			}
			return nil
		})
	} else {
		for _, l := range n.links {
			if err = names.add(l.name); err != nil {
				break
			}
		}
	}
	if err != nil {
		return malformed(f.cid, "%v", err)
	}
	return nil
}

// frame returns the frame of an entry that is seen for the first time. Another
// is known, and is or will be complete without more ado.
func (t *treeCopy) frame(ctx context.Context, up *frame, l link) (f *frame, known bool, err error) {
	if err := checkCID(l.cid); err != nil {
		return nil, false, err
	}
	t.mu.Lock()
	f = t.known[string(l.cid.Hash())]
	if f != nil {
		done := f.done
		if !done {
			f.ups = append(f.ups, up)
		}
		t.mu.Unlock()
		if done {
			err = t.send(ctx, storeItem{up: up, size: f.size})
		}
		return f, true, err
	}
	f = &frame{cid: l.cid, ups: []*frame{up}, depth: up.depth + 1}
	t.known[string(l.cid.Hash())] = f
	t.mu.Unlock()
	if up.node.kind == fsShard {
		err := (&node{fanout: up.node.fanout, links: []link{l}}).shardLinks(up.shards, up.prefix, func(i int, name string, _ link) error {
			if name == "" {
				f.depth, f.shards, f.prefix = up.depth, up.shards+1, up.prefix*up.node.fanout+uint64(i)
			}
			return nil
		})
		if err != nil {
			return nil, false, malformed(up.cid, "%v", err)
		}
	}
	return f, false, nil
}
