package ipfs

import (
	"context"
	"sync"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"google.golang.org/protobuf/encoding/protowire"
)

// Bounds of a listing.
const (
	aheadWants = 256     // blocks asked for ahead at once: where bitswap sends without its 20 ms delay
	maxClaim   = 2 << 20 // bytes of a block: a larger claim is not believed
)

// listing is the source of a walk through directories. A walk asks for one
// block after the other, each a round trip, so:
//
//  1. when a directory or a shard comes by, the inner nodes that it links to are
//     put on a stack, and one goroutine asks for them ahead, newest first, 256
//     at a time;
//  2. a raw block, which is a whole file, is not fetched at all: its size is
//     what the directory says. That is a claim like the sizes that origins send,
//     and whoever fetches the file finds out.
type listing struct {
	*getter

	mu     sync.Mutex
	claims map[cid.Cid]int // sizes in bytes of raw blocks that are still to come by
	stack  []nodes         // to ask for
	peeks  []*fetcher      // one for each root
	wake   chan struct{}   // capacity 1: something is on the stack
}

// nodes are inner nodes below one root.
type nodes struct {
	from *fetcher
	cids []cid.Cid
}

// newListing makes a listing; ahead is its goroutine.
func newListing(g *getter) *listing {
	return &listing{getter: g, claims: make(map[cid.Cid]int), wake: make(chan struct{}, 1)}
}

// close ends what is asked of peers.
func (l *listing) close() {
	for _, f := range l.peeks {
		f.close()
	}
}

// in returns the listing of what is below a root, for who sees what is here through
// a store.
func (l *listing) in(root cid.Cid, here blockstore.Store, acc connectors.Access) *scopedListing {
	g := *l.getter
	g.here = here
	g.from = &fetcher{c: l.c, root: root, patience: l.c.stall(), session: l.session, peek: true}
	l.peeks = append(l.peeks, g.from)
	return &scopedListing{l, &g, acc}
}

// scopedListing is a listing for somebody.
type scopedListing struct {
	*listing
	own *getter
	acc connectors.Access
}

// Get returns one block and looks at where it leads.
func (l *scopedListing) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	blk, err := l.own.Get(ctx, c)
	if err == nil && c.Type() == cid.DagProtobuf {
		l.look(l.own.from, blk.RawData())
	}
	return blk, err
}

// GetSize returns the size of a raw block in bytes without reading it, where it
// is known.
func (l *scopedListing) GetSize(ctx context.Context, c cid.Cid) (int, error) {
	if size, err := l.own.here.GetSize(ctx, c); err == nil {
		return size, nil
	}
	l.mu.Lock()
	size, ok := l.claims[c]
	l.mu.Unlock()
	if ok {
		return size, nil
	}
	blk, err := l.own.Get(ctx, c)
	if err != nil {
		return 0, err
	}
	return len(blk.RawData()), nil
}

// look notes the links of a directory or shard. The links of a file have no
// names and are of no interest to a listing.
func (l *listing) look(from *fetcher, data []byte) {
	var inner []cid.Cid
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range namedLinks(data) {
		switch {
		case k.cid.Type() == cid.Raw && k.size <= maxClaim:
			l.claims[k.cid] = int(k.size)
		case k.cid.Type() == cid.DagProtobuf:
			inner = append(inner, k.cid)
		}
	}
	if len(inner) == 0 {
		return
	}
	l.stack = append(l.stack, nodes{from, inner})
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// ahead asks for what is on the stack until ctx ends. It reports nothing: what
// it does not get the walk asks for again.
func (l *listing) ahead(ctx context.Context) {
	for {
		select {
		case <-l.wake:
		case <-ctx.Done():
			return
		}
		for next := l.pop(); len(next.cids) > 0 && ctx.Err() == nil; next = l.pop() {
			l.fetchAhead(ctx, next)
		}
	}
}

// pop takes what was put on the stack last.
func (l *listing) pop() nodes {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.stack)
	if n == 0 {
		return nodes{}
	}
	top := l.stack[n-1]
	cs := top.cids[:min(len(top.cids), aheadWants)]
	if l.stack[n-1].cids = top.cids[len(cs):]; len(l.stack[n-1].cids) == 0 {
		l.stack = l.stack[:n-1]
	}
	return nodes{top.from, cs}
}

// fetchAhead gets blocks into the store, and gives up on what takes too long.
func (l *listing) fetchAhead(ctx context.Context, next nodes) {
	ctx, cancel := context.WithTimeout(ctx, min(l.c.stall(), l.c.timeout())/2) // the session must not give up for this
	defer cancel()
	var missing []cid.Cid
	for _, c := range next.cids {
		if has, err := l.c.store.Has(ctx, c); err == nil && !has {
			missing = append(missing, c)
		}
	}
	if len(missing) == 0 || l.c.ex == nil {
		return
	}
	got, err := next.from.GetBlocks(ctx, missing)
	if err != nil {
		return
	}
	for blk := range got {
		if err := l.c.store.Put(ctx, blk); err != nil {
			cancel() // the walk meets the same error; the channel ends
		}
	}
}

// namedLink is a link of a directory or shard.
type namedLink struct {
	cid  cid.Cid
	size uint64 // bytes under it, as claimed
}

// Field numbers of dag-pb, https://ipld.io/specs/codecs/dag-pb/spec/.
const (
	fieldLinks = 2 // of a node
	fieldHash  = 1 // of a link
	fieldName  = 2
	fieldSize  = 3
)

// namedLinks returns the links of a dag-pb node that have names, as many as can
// be read: whether the node is well formed is for the walk to judge.
func namedLinks(data []byte) []namedLink {
	var links []namedLink
	for len(data) > 0 {
		num, value, _, rest := field(data)
		if rest == nil {
			break
		}
		data = rest
		if num != fieldLinks {
			continue
		}
		if l, ok := parseLink(value); ok {
			links = append(links, l)
		}
	}
	return links
}

// parseLink reads one link; false when it has no name or no CID.
func parseLink(data []byte) (l namedLink, ok bool) {
	named := false
	for len(data) > 0 {
		num, value, n, rest := field(data)
		if rest == nil {
			return namedLink{}, false
		}
		data = rest
		switch num {
		case fieldHash:
			c, err := cid.Cast(value)
			if err != nil {
				return namedLink{}, false
			}
			l.cid = c
		case fieldName:
			named = len(value) > 0
		case fieldSize:
			l.size = n
		}
	}
	return l, named && l.cid.Defined()
}

// field reads one field of a message: its number, its bytes or its varint, and
// what follows it; rest is nil when there is none that can be read.
func field(data []byte) (num protowire.Number, value []byte, n uint64, rest []byte) {
	num, typ, used := protowire.ConsumeTag(data)
	if used < 0 {
		return 0, nil, 0, nil
	}
	data = data[used:]
	switch typ {
	case protowire.BytesType:
		value, used = protowire.ConsumeBytes(data)
	case protowire.VarintType:
		n, used = protowire.ConsumeVarint(data)
	default:
		return 0, nil, 0, nil // dag-pb has no others
	}
	if used < 0 {
		return 0, nil, 0, nil
	}
	return num, value, n, data[used:]
}
