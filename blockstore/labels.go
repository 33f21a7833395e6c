package blockstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

func validAlias(key string, a Alias) error {
	if key == "" || !a.Root.Defined() {
		return errors.New("alias without key or root")
	}
	if n := len(key); n > maxKey {
		return fmt.Errorf("alias of %d bytes, at most %d", n, maxKey)
	}
	if n := len(a.Meta); n > maxMeta {
		return fmt.Errorf("alias %.100q with %d bytes of meta data, at most %d", key, n, maxMeta)
	}
	return nil
}

// Alias returns what the alias key stands for. A sha256 that no alias names may
// still be that of a stored raw block.
func (d *Disk) Alias(ctx context.Context, key string) (Alias, error) {
	if err := d.enter(ctx); err != nil {
		return Alias{}, err
	}
	defer d.gate.leave()
	r, err := aliasRecord{}, errAbsent
	if key != "" && len(key) <= maxKey {
		r, err = aliasIn(d.index, aliasKey(key))
	}
	if !errors.Is(err, errAbsent) {
		return r.Alias, err
	}
	if root, ok := rawOfAlias(key); ok {
		if _, err := d.find(root); err == nil {
			return Alias{Root: root}, nil
		} else if !errors.Is(err, errAbsent) {
			return Alias{}, err
		}
	}
	return Alias{}, fmt.Errorf("alias %.100q: %w", key, ipld.ErrNotFound{})
}

// PutAlias sets an alias, durably.
func (d *Disk) PutAlias(ctx context.Context, key string, a Alias) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.gate.leave()
	if err := validAlias(key, a); err != nil {
		return err
	}
	at := d.now()
	return d.commit(ctx, &change{flushed: true, build: func(b *batch) error {
		d.touched.root(a.Root)
		return b.setAlias(key, a, at)
	}}, fact{typ: recordAlias, at: at, key: key, alias: a}.record())
}

// Pin sets a pin, durably.
func (d *Disk) Pin(ctx context.Context, p Pin) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.gate.leave()
	if !p.Root.Defined() {
		return errors.New("pin without root")
	}
	if n := len(p.Name); n > maxKey {
		return fmt.Errorf("pin name of %d bytes, at most %d", n, maxKey)
	}
	if n := len(p.Owner); n > MaxOwner {
		return fmt.Errorf("pin owner of %d bytes, at most %d", n, MaxOwner)
	}
	if p.Created.IsZero() {
		p.Created = time.Now()
	}
	if !p.Expires.IsZero() {
		defer d.call()
	}
	return d.commit(ctx, &change{flushed: true, build: func(b *batch) error {
		d.touched.root(p.Root)
		b.set(pinKey(p.Root, p.Name), encodePin(p))
		return nil
	}}, fact{typ: recordPin, at: d.now(), pin: p}.record())
}

// Unpin removes one pin, durably.
func (d *Disk) Unpin(ctx context.Context, root cid.Cid, name string) error {
	if err := d.enter(ctx); err != nil {
		return err
	}
	defer d.gate.leave()
	missing := fmt.Errorf("pin %.100q: %w", name, ipld.ErrNotFound{Cid: root})
	if !root.Defined() || len(name) > maxKey {
		return missing
	}
	key := pinKey(root, name)
	defer d.quota.changed()
	return d.commit(ctx, &change{frees: true, build: func(b *batch) error {
		err := b.get(key, func([]byte) error { return nil })
		if errors.Is(err, errAbsent) {
			return missing
		}
		if err == nil {
			b.delete(key)
		}
		return err
	}}, fact{typ: recordUnpin, at: d.now(), pin: Pin{Root: root, Name: name}}.record())
}

// dropExpired removes the pins that have ended, and returns when the next one ends,
// zero if none will. A kill between two leaves the others for the next time.
func (d *Disk) dropExpired(ctx context.Context) (next time.Time, err error) {
	now := time.Now()
	var ended [][]byte
	for op, err := range d.pairs(ctx, []byte{keyPin}) {
		if err != nil {
			return next, err
		}
		p, err := decodePin(op.value)
		switch {
		case err != nil:
			return next, err
		case p.Expired(now):
			ended = append(ended, op.key)
		case !p.Expires.IsZero() && (next.IsZero() || p.Expires.Before(next)):
			next = p.Expires
		}
	}
	if len(ended) == 0 {
		return next, nil
	}
	defer d.quota.changed()
	return next, d.commit(ctx, &change{frees: true, build: func(b *batch) error {
		for _, key := range ended {
			err := b.get(key, func(v []byte) error {
				if p, err := decodePin(v); err == nil && p.Expired(now) { // else it was set again
					b.delete(key)
				}
				return nil
			})
			if err := ignoreAbsent(err); err != nil {
				return err
			}
		}
		return nil
	}})
}

// Pins yields all pins that have not ended.
func (d *Disk) Pins(ctx context.Context) iter.Seq2[Pin, error] {
	return func(yield func(Pin, error) bool) {
		for op, err := range d.pairs(ctx, []byte{keyPin}) {
			var p Pin
			if err == nil {
				p, err = decodePin(op.value)
			}
			if err == nil && p.Expired(time.Now()) {
				continue
			}
			if !yield(p, err) || err != nil {
				return
			}
		}
	}
}
