package blockstore

import (
	"context"
	"fmt"
	"iter"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// core is what a store needs to be seen and filled by scopes.
type core interface {
	Store
	listKeys(ctx context.Context, keys iter.Seq2[cid.Cid, error]) (<-chan cid.Cid, error)
	putMany(ctx context.Context, blks []blocks.Block, private bool) error
	putFileFor(ctx context.Context, scope string, f File, aliases map[string][]byte) error
	newFileFor(ctx context.Context, scope string, size int64) (FileWriter, error)
}

// scoped is a store as a scope sees and fills it.
type scoped struct {
	core
	scope string // "": everybody
}

var _ Store = scoped{}

// hides tells whether a stored block is none for the scope.
func (s scoped) hides(ctx context.Context, c cid.Cid) (bool, error) {
	if s.scope == Operator {
		return false, nil
	}
	a, err := s.Audience(ctx, c)
	if isNotFound(err) {
		return false, nil // as everybody is told
	}
	return err == nil && !a.Admits(s.scope), err
}

// sees returns ipld.ErrNotFound for a block that the scope may not have.
func (s scoped) sees(ctx context.Context, c cid.Cid) error {
	hidden, err := s.hides(ctx, c)
	if err == nil && hidden {
		err = ipld.ErrNotFound{Cid: c}
	}
	return err
}

// Has tells whether the scope may have a block, and it is stored.
func (s scoped) Has(ctx context.Context, c cid.Cid) (bool, error) {
	if hidden, err := s.hides(ctx, c); hidden || err != nil {
		return false, err
	}
	return s.core.Has(ctx, c)
}

// GetSize returns the bytes of a block that the scope may have.
func (s scoped) GetSize(ctx context.Context, c cid.Cid) (int, error) {
	if err := s.sees(ctx, c); err != nil {
		return -1, err
	}
	return s.core.GetSize(ctx, c)
}

// Get returns a block that the scope may have.
func (s scoped) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	if err := s.sees(ctx, c); err != nil {
		return nil, err
	}
	return s.core.Get(ctx, c)
}

// View calls f with the bytes of a block that the scope may have.
func (s scoped) View(ctx context.Context, c cid.Cid, f func([]byte) error) error {
	if err := s.sees(ctx, c); err != nil {
		return err
	}
	return s.core.View(ctx, c, f)
}

// Keys yields what the scope may have.
func (s scoped) Keys(ctx context.Context) iter.Seq2[cid.Cid, error] {
	return func(yield func(cid.Cid, error) bool) {
		for c, err := range s.core.Keys(ctx) {
			hidden := false
			if err == nil {
				hidden, err = s.hides(ctx, c)
			}
			if !hidden && !yield(c, err) || err != nil {
				return
			}
		}
	}
}

// AllKeysChan is Keys as boxo's libraries want it.
func (s scoped) AllKeysChan(ctx context.Context) (<-chan cid.Cid, error) {
	return s.listKeys(ctx, s.Keys(ctx))
}

// File returns the record of a file that the scope may have.
func (s scoped) File(ctx context.Context, root cid.Cid) (File, error) {
	if err := s.sees(ctx, root); err != nil {
		return File{}, fmt.Errorf("file: %w", err)
	}
	return s.core.File(ctx, root)
}

// OpenFile opens the content of a file that the scope may have.
func (s scoped) OpenFile(ctx context.Context, root cid.Cid) (*Content, error) {
	if err := s.sees(ctx, root); err != nil {
		return nil, fmt.Errorf("file: %w", err)
	}
	return s.core.OpenFile(ctx, root)
}

// Alias returns what a key stands for, if the scope may have it.
func (s scoped) Alias(ctx context.Context, key string) (Alias, error) {
	a, err := s.core.Alias(ctx, key)
	if err != nil {
		return Alias{}, err
	}
	if err := s.sees(ctx, a.Root); err != nil {
		return Alias{}, fmt.Errorf("alias %.100q: %w", key, err)
	}
	return a, nil
}

// Put stores a block for the scope.
func (s scoped) Put(ctx context.Context, blk blocks.Block) error {
	return s.PutMany(ctx, []blocks.Block{blk})
}

// PutMany stores blocks for the scope.
func (s scoped) PutMany(ctx context.Context, blks []blocks.Block) error {
	return s.putMany(ctx, blks, s.scope != "")
}

// NewFile begins a file for the scope.
func (s scoped) NewFile(ctx context.Context, size int64) (FileWriter, error) {
	return s.newFileFor(ctx, s.scope, size)
}

// Owned tells whether what is put is private to the scope: a file has to be
// recorded for it then, also one of a single raw leaf, which speaks for itself only
// to those who may have it.
func (s scoped) Owned() bool { return s.scope != "" }

// PutFile records a file for the scope.
func (s scoped) PutFile(ctx context.Context, f File, aliases map[string][]byte) error {
	return s.putFileFor(ctx, s.scope, f, aliases)
}

// keeper is a store that keeps the beginnings of files.
type keeper interface {
	Passer
	keepFileFor(ctx context.Context, scope, name string, size int64) (PartialFile, error)
	resumeFileFor(ctx context.Context, scope, name string) (PartialFile, error)
}

// keepingScope is scoped over a store that keeps the beginnings of files.
type keepingScope struct {
	scoped
	keeps keeper
}

// KeepFile begins a file for the scope, whose beginning may be kept.
func (s keepingScope) KeepFile(ctx context.Context, name string, size int64) (PartialFile, error) {
	return s.keeps.keepFileFor(ctx, s.scope, name, size)
}

// ResumeFile goes on with a file, for the scope.
func (s keepingScope) ResumeFile(ctx context.Context, name string) (PartialFile, error) {
	return s.keeps.resumeFileFor(ctx, s.scope, name)
}
