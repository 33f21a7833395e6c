package blockstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// Who may have a block:
//
//	its record has no mark             everybody: it was put for everybody once
//	it is marked, and a root that it   everybody, if the root's audience says so;
//	is or lies in a segment of has     else the scopes of these roots
//	an audience
//	it is marked, and there is none    nobody but the operator
//
// The mark is a byte in the block's record, so that nothing more is read for what
// is public. A segment knows its file, so that no leaf needs a record of its own.
// Audiences are aliases of roots, "scope:<CIDv1>", which footers and packs repeat:
// a rebuild finds them again, and what it can't tell of stays marked.

// scopeAlias begins the keys of audiences.
const scopeAlias = "scope:"

// Operator is the scope that sees everything. What is put through it is nobody
// else's until a scope is admitted.
const Operator = "operator"

// maxScopes is how many scopes are remembered of one root; the oldest are
// forgotten, and have to be admitted again.
const maxScopes = 64

// Audience says who may have a block.
type Audience struct {
	Public bool     `json:"public,omitempty"` // everybody; the scopes are of no interest then
	Scopes []string `json:"scopes,omitempty"` // oldest first
}

// Admits tells whether a scope is in the audience.
func (a Audience) Admits(scope string) bool {
	return a.Public || scope != "" && slices.Contains(a.Scopes, scope)
}

// with returns the audience of both.
func (a Audience) with(b Audience) Audience {
	if a.Public || b.Public {
		return Audience{Public: true}
	}
	all := slices.Clone(a.Scopes)
	for _, scope := range b.Scopes {
		if !slices.Contains(all, scope) {
			all = append(all, scope)
		}
	}
	return Audience{Scopes: all[max(0, len(all)-maxScopes):]}
}

// alias returns the audience as the alias of a root.
func (a Audience) alias(root cid.Cid) (Alias, error) {
	meta, err := json.Marshal(a)
	return Alias{Root: root, Meta: meta}, err
}

// parseAudience reads the Meta of an alias; one that can't be read admits nobody.
func parseAudience(meta []byte) (a Audience) {
	if json.Unmarshal(meta, &a) != nil {
		return Audience{}
	}
	return a
}

func scopeKey(root cid.Cid) string { return scopeAlias + asV1(root).String() }

// mergeScopes returns what an alias becomes that is set over a known one: what was
// said of an audience holds.
func mergeScopes(key string, known, a Alias) (Alias, error) {
	if !strings.HasPrefix(key, scopeAlias) {
		return a, nil
	}
	return parseAudience(known.Meta).with(parseAudience(a.Meta)).alias(a.Root)
}

// IsPrivate tells whether a block is stored, and not for everybody: it must not
// be announced.
func IsPrivate(ctx context.Context, s Scopes, c cid.Cid) (bool, error) {
	a, err := s.Audience(ctx, c)
	if isNotFound(err) {
		return false, nil
	}
	return err == nil && !a.Public, err
}

// Scope returns the store as a scope sees and fills it.
func (d *Disk) Scope(name string) Store { return keepingScope{scoped{d, name}, d} }

// Audience returns who may have a block.
func (d *Disk) Audience(ctx context.Context, c cid.Cid) (Audience, error) {
	if err := d.enter(ctx); err != nil {
		return Audience{}, err
	}
	defer d.gate.leave()
	a, err := d.audience(c)
	if errors.Is(err, errAbsent) {
		err = ipld.ErrNotFound{Cid: c}
	}
	return a, err
}

// audience is Audience; errAbsent for a block that is not stored.
func (d *Disk) audience(c cid.Cid) (Audience, error) {
	if !c.Defined() {
		return Audience{}, errAbsent
	}
	if isIdentity(c) {
		return Audience{Public: true}, nil
	}
	known, err := d.copies(c)
	if err != nil || !known.private {
		return Audience{Public: true}, err
	}
	var all Audience
	for _, codec := range []uint64{cid.Raw, cid.DagProtobuf} {
		a, err := audienceIn(d.index, cid.NewCidV1(codec, c.Hash()))
		if err != nil {
			return Audience{}, err
		}
		all = all.with(a)
	}
	for _, e := range known.all {
		root, ok, err := fileOf(d.index, e.seg)
		if err != nil {
			return Audience{}, err
		}
		if !ok || all.Public {
			continue
		}
		a, err := audienceIn(d.index, root)
		if err != nil {
			return Audience{}, err
		}
		all = all.with(a)
	}
	return all, nil
}

// audienceIn returns the audience that was set for a root, which may be none.
func audienceIn(g getter, root cid.Cid) (Audience, error) {
	r, err := aliasIn(g, aliasKey(scopeKey(root)))
	if errors.Is(err, errAbsent) || errors.Is(err, errValue) {
		return Audience{}, nil
	}
	return parseAudience(r.Meta), err
}

// fileOf returns the root of the file that a segment was made for.
func fileOf(g getter, id uint64) (root cid.Cid, ok bool, err error) {
	if kindOf(id) != fileSegment {
		return cid.Undef, false, nil
	}
	seg, err := getSegment(g, id)
	if errors.Is(err, errAbsent) || err == nil && seg.file == nil {
		return cid.Undef, false, nil
	}
	if err == nil {
		root, err = rootOfFileKey(seg.file)
	}
	return root, err == nil, err
}

// Admit adds a scope to the audience of a private root, durably.
func (d *Disk) Admit(ctx context.Context, root cid.Cid, scope string) error {
	now, err := d.Audience(ctx, root)
	if err != nil || scope == "" || now.Admits(scope) {
		return err
	}
	a, err := Audience{Scopes: []string{scope}}.alias(root)
	if err != nil {
		return err
	}
	return d.PutAlias(ctx, scopeKey(root), a)
}

// label adds to the aliases of a file, which is about to be recorded for a scope,
// whom it is for. It tells whether the file's new blocks are private. all says
// that everything is recorded with the file, so that it can be made public.
func (d *Disk) label(root cid.Cid, scope string, all bool, aliases map[string]Alias) (private bool, err error) {
	if isIdentity(root) {
		return false, nil
	}
	stored, err := d.audience(root)
	absent := errors.Is(err, errAbsent)
	if err != nil && !absent {
		return false, err
	}
	now := Audience{Scopes: []string{scope}}
	switch {
	case scope != "" && stored.Public && !absent:
		return false, nil // it is for everybody already
	case scope == "":
		known, err := audienceIn(d.index, root)
		said := len(known.Scopes) > 0 || !stored.Public
		if err != nil || known.Public || !said || !all && !stored.Public {
			return false, err
		}
		now = Audience{Public: true}
	}
	a, err := now.alias(root)
	if err == nil {
		err = validAlias(scopeKey(root), a)
	}
	aliases[scopeKey(root)] = a
	return scope != "", err
}

// publish says of blocks that were put for everybody that they are, where they
// are roots of which something else was said.
func (d *Disk) publish(ctx context.Context, blocks []cid.Cid) error {
	for _, c := range blocks {
		for _, codec := range []uint64{cid.Raw, cid.DagProtobuf} {
			root := cid.NewCidV1(codec, c.Hash())
			known, err := audienceIn(d.index, root)
			if err != nil {
				return err
			}
			if known.Public || len(known.Scopes) == 0 {
				continue
			}
			a, err := Audience{Public: true}.alias(root)
			if err == nil {
				err = d.PutAlias(ctx, scopeKey(root), a)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// isPrivate tells whether the blocks of a footer are not for everybody.
func (f *footer) isPrivate() bool {
	a, ok := f.aliases[scopeKey(f.file.Root)]
	return ok && !parseAudience(a.Meta).Public
}

// metaScoped is the key that says that private blocks are marked.
func metaScoped() []byte { return metaKey("scoped") }

// markPrivates marks the blocks of private roots that are not marked: an index of
// version 1 had marks of roots alone, in the form of their audiences, and so has a
// rebuilt one of what version 1 wrote. A block that lies elsewhere as well may have
// been put for everybody, and was served; it still is.
func (d *Disk) markPrivates(ctx context.Context) error {
	prefix := append([]byte{keyAlias}, scopeAlias...)
	for op, err := range d.pairs(ctx, prefix) {
		var r aliasRecord
		if err == nil {
			r, err = decodeAliasRecord(op.key, op.value)
		}
		if errors.Is(err, errValue) {
			continue
		}
		if err != nil {
			return err
		}
		if parseAudience(r.Meta).Public {
			continue
		}
		if err := d.markRoot(r.Root); err != nil {
			return fmt.Errorf("mark %s: %w", r.Root, err)
		}
	}
	return d.index.write([]indexOp{{metaScoped(), []byte{}}})
}

// markRoot marks a root and the blocks of its segment.
func (d *Disk) markRoot(root cid.Cid) error {
	b := newBatch(d.index)
	known, err := copiesOf(b, root.Hash())
	if errors.Is(err, errAbsent) || errors.Is(err, errValue) {
		return nil
	}
	if err != nil {
		return err
	}
	known.private = true
	b.set(blockKey(root.Hash()), known.encode())
	rec, err := getFile(b, fileKey(root))
	if err != nil || rec.seg == 0 {
		if errors.Is(err, errAbsent) || errors.Is(err, errValue) {
			err = nil
		}
		return errors.Join(err, d.index.write(b.ops))
	}
	foot, err := d.footerOf(rec.seg)
	if err != nil && !errors.Is(err, errFooter) {
		return err
	}
	if err == nil {
		err = d.markSegment(b, foot)
	} else {
		err = nil // its blocks are served as they were
	}
	return errors.Join(err, d.index.write(b.ops))
}

// markSegment marks the blocks that lie in segments of private files alone.
func (d *Disk) markSegment(b *batch, foot *footer) error {
	private := make(map[uint64]bool)
	judge := func(e extent) (bool, error) {
		is, ok := private[e.seg]
		if ok {
			return is, nil
		}
		root, ok, err := fileOf(b, e.seg)
		if err != nil {
			return false, err
		}
		if ok {
			a, err := audienceIn(b, root)
			if err != nil {
				return false, err
			}
			is = !a.Public && len(a.Scopes) > 0
		}
		private[e.seg] = is
		return is, nil
	}
	for _, blk := range foot.blocks {
		known, err := copiesOf(b, blk.cid.Hash())
		if err != nil || known.private {
			if err != nil && !errors.Is(err, errAbsent) && !errors.Is(err, errValue) {
				return err
			}
			continue
		}
		known.private = true
		for _, e := range known.all {
			is, err := judge(e)
			if err != nil {
				return err
			}
			known.private = known.private && is
		}
		if known.private {
			b.set(blockKey(blk.cid.Hash()), known.encode())
		}
	}
	return nil
}
