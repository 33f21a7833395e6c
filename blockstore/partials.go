package blockstore

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/hypha-node/hypha-node/blockstore/internal/vfs"
)

// partialAge is how long the beginning of a file waits for somebody to go on.
const partialAge = 7 * 24 * time.Hour

// errOld says that nobody went on with a partial file.
var errOld = errors.New("partial file is too old")

// claims are the names of partial files that somebody writes.
type claims struct {
	mu    sync.Mutex
	taken map[string]struct{} // keys of the index
}

// take returns false when somebody has the name.
func (c *claims) take(key []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.taken[string(key)]; ok {
		return false
	}
	if c.taken == nil {
		c.taken = make(map[string]struct{})
	}
	c.taken[string(key)] = struct{}{}
	return true
}

func (c *claims) giveBack(key []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.taken, string(key))
}

func (d *Disk) isOld(rec partialRecord) bool { return d.now()-rec.at > int64(partialAge) }

// heldPartial is the beginning of a file, under its key.
type heldPartial struct {
	key []byte
	rec partialRecord // with no id if it is malformed
}

// partials returns all beginnings of files, that which waits longest in front.
func (d *Disk) partials() ([]heldPartial, error) {
	var all []heldPartial
	err := d.index.scan([]byte{keyPartial}, nil, func(k, v []byte) bool {
		rec, err := decodePartial(v)
		if err != nil {
			d.log.Warn("partial file", errorAttr(err))
		}
		all = append(all, heldPartial{slices.Clone(k), rec})
		return true
	})
	slices.SortStableFunc(all, func(a, b heldPartial) int { return cmp.Compare(a.rec.at, b.rec.at) })
	return all, err
}

// dropPartials drops beginnings of files that nobody writes, the oldest first,
// until enough says so. It returns how many bytes that gave back.
func (d *Disk) dropPartials(ctx context.Context, enough func() bool) (freed int64, err error) {
	all, err := d.partials()
	if err != nil {
		return 0, err
	}
	for _, p := range all {
		if enough() {
			break
		}
		if !d.claims.take(p.key) {
			continue
		}
		n, err := d.dropClaimed(ctx, p.key)
		d.claims.giveBack(p.key)
		if freed += n; err != nil {
			return freed, err
		}
	}
	return freed, nil
}

// dropClaimed drops what the index has under a key by now.
func (d *Disk) dropClaimed(ctx context.Context, key []byte) (int64, error) {
	rec, err := getPartial(d.index, key)
	if errors.Is(err, errAbsent) {
		return 0, nil
	}
	if err != nil && !errors.Is(err, errValue) {
		return 0, err
	}
	return d.dropPartial(ctx, key, rec)
}

// Fits returns ErrNoSpace if n bytes of new content would not be taken now, whatever
// beginnings of files are part of it or go for it. Nothing is set aside.
func (d *Disk) Fits(ctx context.Context, n int64) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.gate.leave()
	all, err := d.partials()
	for _, p := range all {
		n -= p.rec.kept
	}
	return errors.Join(err, d.space.want(max(n, 0)))
}

// makeRoom is space.want for n bytes, for which beginnings of files have to go if
// that helps.
func (d *Disk) makeRoom(ctx context.Context, n int64) error {
	err := d.space.want(n)
	if !errors.Is(err, ErrNoSpace) {
		return err
	}
	all, perr := d.partials()
	if perr != nil {
		return errors.Join(err, perr)
	}
	least := n
	for _, p := range all {
		least -= p.rec.kept
	}
	if len(all) == 0 || errors.Is(d.space.want(least), ErrNoSpace) {
		return err
	}
	_, perr = d.dropPartials(ctx, func() bool { return !errors.Is(d.space.want(n), ErrNoSpace) })
	return errors.Join(d.space.want(n), perr)
}

// recoverPartials settles which part files stay: those that the index knows, that
// hold what was kept, that are not old, and on a disk with room. Behind what was
// kept they are cut off. It returns the names of those that stay.
func (d *Disk) recoverPartials(infos []vfs.Info) (map[string]bool, error) {
	sizes := make(map[string]int64, len(infos))
	for _, info := range infos {
		sizes[info.Name] = info.Size
	}
	all, err := d.partials()
	if err != nil {
		return nil, err
	}
	low := errors.Is(d.space.want(0), ErrNoSpace)
	stay := make(map[string]bool)
	ids := make(map[uint64]bool)
	var gone []indexOp
	for _, p := range all {
		d.segs.used(p.rec.id)
		name := partName(p.rec.id)
		size, ok := sizes[name]
		if low || p.rec.id == 0 || !ok || size < p.rec.kept || d.isOld(p.rec) || d.cutPart(name, p.rec.kept) != nil {
			d.log.Info("partial file is given up", slog.String("segment", name))
			gone = append(gone, indexOp{key: p.key})
			continue
		}
		stay[name], ids[p.rec.id] = true, true
	}
	err = d.index.scan([]byte{keyKept}, nil, func(k, _ []byte) bool {
		if id, _, err := parseKeptKey(k); err != nil || !ids[id] {
			gone = append(gone, indexOp{key: slices.Clone(k)})
		}
		return true
	})
	if err != nil || len(gone) == 0 {
		return stay, err
	}
	return stay, d.index.write(gone)
}

// cutPart cuts a part file off, and gives back what was set aside for it.
func (d *Disk) cutPart(name string, end int64) error {
	f, err := d.segs.fs.Open(name, vfs.Write)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(end), f.Close())
}
