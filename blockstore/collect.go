package blockstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// Linker returns what a block links to; data is valid during the call only.
type Linker func(c cid.Cid, data []byte) ([]cid.Cid, error)

// Collected is what a collection took.
type Collected struct {
	Blocks int64 // distinct multihashes
	Files  int64 // that had a record
	Bytes  int64 // given back to the file system
}

// Collect deletes what no pin reaches and gives its space back to the file
// system before it returns. Files go before their blocks and roots before what
// they link to, so that a recorded file is whole at any moment, also after a
// kill. Reads and writes go on meanwhile: what is put, committed, found or pinned
// after the beginning stays, and what a Hold covers. Beginnings of files that
// nobody writes go first. One collection runs at a
// time. links is asked for blocks of pinned trees, but not for raw ones nor for
// those of files in one segment; an error of it ends the collection, for nobody
// knows what lies below.
func (d *Disk) Collect(ctx context.Context, links Linker) (Collected, error) {
	ctx, leave, err := d.long(ctx)
	if err != nil {
		return Collected{}, err
	}
	defer leave()
	done, err := d.alone(ctx)
	if err != nil {
		return Collected{}, err
	}
	defer done()
	g := d.newCollector(links)
	err = d.collect(ctx, g)
	if d.quota != nil {
		err = errors.Join(err, d.quota.measure(d))
	}
	return g.out, err
}

// alone waits until no other collection runs, and keeps others out until done is
// called.
func (d *Disk) alone(ctx context.Context) (done func(), err error) {
	select {
	case d.collecting <- struct{}{}:
		return func() { <-d.collecting }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (d *Disk) newCollector(links Linker) *collector {
	return &collector{
		d: d, links: links, live: make(hashSet), nodes: make(hashSet),
		keep: make(map[uint64]struct{}), seen: make(map[string]struct{}),
	}
}

// collect runs a collection; no other runs.
func (d *Disk) collect(ctx context.Context, g *collector) error {
	defer d.touched.watch()()
	if err := d.sync(ctx); err != nil && !errors.Is(err, ErrNoSpace) {
		return err
	}
	err := g.run(ctx)
	d.trim()
	if err != nil {
		return fmt.Errorf("collect: %w", err)
	}
	return nil
}

// collector is one collection.
type collector struct {
	d     *Disk
	links Linker
	live  hashSet             // blocks that stay
	nodes hashSet             // of these, those whose links are followed
	keep  map[uint64]struct{} // file segments whose file stays
	seen  map[string]struct{} // file keys of roots that callers touched and that are marked
	evict *eviction           // nil: everything goes that is not marked
	out   Collected
}

func (g *collector) run(ctx context.Context) error {
	if g.evict == nil {
		freed, err := g.d.dropPartials(ctx, func() bool { return false })
		if g.out.Bytes += freed; err != nil {
			return err
		}
	}
	if _, err := g.d.dropExpired(ctx); err != nil {
		return err
	}
	for p, err := range g.d.pairs(ctx, []byte{keyPin}) {
		if err != nil {
			return err
		}
		pin, err := decodePin(p.value)
		if err != nil {
			return err
		}
		if err := g.mark(ctx, pin.Root); err != nil {
			return err
		}
	}
	if g.evict != nil {
		if err := g.spare(ctx); err != nil {
			return err
		}
	}
	if err := g.files(ctx); err != nil {
		return err
	}
	for _, kind := range []byte{keyAlias, keyDigest} {
		if err := g.aliases(ctx, kind); err != nil {
			return err
		}
	}
	return g.sweep(ctx)
}

// mark keeps everything under a root. A root that is not stored keeps nothing.
func (g *collector) mark(ctx context.Context, root cid.Cid) error {
	for todo := []cid.Cid{root}; len(todo) > 0; {
		c := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if isIdentity(c) || g.nodes.has(c.Hash()) {
			continue
		}
		g.live.add(c.Hash())
		if c.Type() == cid.Raw {
			continue
		}
		g.nodes.add(c.Hash())
		if whole, err := g.markSegment(c); err != nil {
			return err
		} else if whole {
			continue
		}
		below, err := g.below(ctx, c)
		if err != nil {
			return fmt.Errorf("block %s under a pin: %w", c, err)
		}
		todo = append(todo, below...)
	}
	return nil
}

// below returns the links of a stored block.
func (g *collector) below(ctx context.Context, c cid.Cid) ([]cid.Cid, error) {
	buf, _ := g.d.buffers.Get().(*[]byte) //nolint:errcheck // the pool holds nothing else
	defer g.d.buffers.Put(buf)
	data, err := g.d.load(ctx, c, matches, func(n int64) []byte { return (*buf)[:n] })
	if ipld.IsNotFound(err) {
		// A DAG that is pinned while it is fetched, or one that lost a block.
		g.d.log.Info("pinned block is not stored", slog.String("cid", c.String()))
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return g.links(c, data)
}

// markSegment marks all blocks of a file that lies in one segment, as its footer
// lists them, and tells whether it could.
func (g *collector) markSegment(root cid.Cid) (bool, error) {
	rec, err := getFile(g.d.index, fileKey(root))
	if errors.Is(err, errAbsent) || (err == nil && rec.seg == 0) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	foot, err := g.d.footerOf(rec.seg)
	if err != nil {
		g.d.log.Warn("segment without a footer", slog.String("segment", segmentName(rec.seg)), errorAttr(err))
		return false, nil
	}
	for _, blk := range foot.blocks {
		g.live.add(blk.cid.Hash())
	}
	g.keep[rec.seg] = struct{}{}
	return true, nil
}

func (d *Disk) footerOf(id uint64) (*footer, error) {
	seg, err := d.segs.acquire(id)
	if err != nil {
		return nil, err
	}
	defer d.segs.release(seg)
	size, err := seg.Size()
	if err != nil {
		return nil, err
	}
	return readFooter(seg, size)
}

// condemn makes keys of the index invisible to lookups, but for those that stay,
// and returns what ends that. Roots that were touched meanwhile are marked first.
func (g *collector) condemn(ctx context.Context, keys [][]byte, stays func(key []byte) bool) (doomed [][]byte, pardon func(), err error) {
	t := g.d.touched
	for {
		t.step.Lock()
		roots := t.takeRoots(g.seen)
		if len(roots) == 0 {
			break
		}
		t.step.Unlock()
		for _, root := range roots {
			if err := g.mark(ctx, root); err != nil {
				return nil, nil, err
			}
		}
	}
	defer t.step.Unlock()
	for _, key := range keys {
		if !stays(key) {
			doomed = append(doomed, key)
			t.condemned[string(key)] = struct{}{}
		}
	}
	return doomed, func() {
		t.step.Lock()
		defer t.step.Unlock()
		clear(t.condemned)
	}, nil
}

// collectStep is how many keys are condemned at once.
const collectStep = 1024

// files deletes the records of files that nothing reaches.
func (g *collector) files(ctx context.Context) error {
	var dead [][]byte
	for p, err := range g.d.pairs(ctx, []byte{keyFile}) {
		if err != nil {
			return err
		}
		if !g.reached(p.key) {
			dead = append(dead, p.key)
		} else if err := g.stay(ctx, p.key); err != nil {
			return err
		}
		if len(dead) == collectStep {
			if err := g.dropFiles(ctx, dead); err != nil {
				return err
			}
			dead = dead[:0]
		}
	}
	return g.dropFiles(ctx, dead)
}

// reached tells whether a file stays; one with a malformed key does not.
func (g *collector) reached(key []byte) bool {
	root, err := rootOfFileKey(key)
	return err == nil && (g.live.has(root.Hash()) || g.d.touched.hasBlock(root.Hash()))
}

// stay keeps what is under a file that stays, also if nobody but a reader of its
// root has reached it.
func (g *collector) stay(ctx context.Context, key []byte) error {
	root, err := rootOfFileKey(key)
	if err != nil {
		return nil //nolint:nilerr // it does not stay
	}
	return g.mark(ctx, root)
}

func (g *collector) dropFiles(ctx context.Context, keys [][]byte) error {
	if len(keys) == 0 {
		return nil
	}
	doomed, pardon, err := g.condemn(ctx, keys, g.reached)
	if err != nil {
		return err
	}
	err = g.d.commit(ctx, &change{frees: true, build: func(b *batch) error {
		for _, key := range doomed {
			if !g.reached(key) { // else it was committed again meanwhile
				b.delete(key)
				g.out.Files++
			}
		}
		return nil
	}})
	pardon()
	for _, key := range keys {
		if err == nil && g.reached(key) {
			err = g.stay(ctx, key)
		}
	}
	return err
}

// aliases deletes the aliases whose root is stored and will not be. An alias of
// what is not stored may still tell a peer what to ask for.
func (g *collector) aliases(ctx context.Context, kind byte) error {
	var dead []indexOp
	flush := func() error {
		defer func() { dead = dead[:0] }()
		return g.d.commit(ctx, &change{frees: true, build: func(b *batch) error {
			for _, op := range dead {
				err := b.get(op.key, func(v []byte) error {
					if r, err := decodeAliasRecord(op.key, v); err == nil && bytes.Equal(v, op.value) && !g.d.touched.hasBlock(r.Root.Hash()) {
						b.delete(op.key)
					}
					return nil
				})
				if err != nil && !errors.Is(err, errAbsent) {
					return err
				}
			}
			return nil
		}})
	}
	for p, err := range g.d.pairs(ctx, []byte{kind}) {
		if err != nil {
			return err
		}
		r, err := decodeAliasRecord(p.key, p.value)
		if err != nil || isIdentity(r.Root) || g.live.has(r.Root.Hash()) {
			continue
		}
		if _, err := copiesOf(g.d.index, r.Root.Hash()); err != nil {
			continue
		}
		if dead = append(dead, p); len(dead) == collectStep {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if len(dead) == 0 {
		return nil
	}
	return flush()
}
