package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/dag"
)

// names returns what the beginning of an item's content may be kept as, the
// strongest identity first: one that does not depend on where the content comes
// from. Nobody goes on with what was fetched with another credential.
func names(it connectors.Item) (all []string) {
	if it.SHA256 != nil {
		all = append(all, sha256Key(*it.SHA256))
	}
	if it.GitSHA1 != nil {
		all = append(all, gitKey(*it.GitSHA1))
	}
	if it.Key != "" {
		all = append(all, it.Key)
	}
	for i := range all {
		all[i] += "\x00" + it.Scope
	}
	return all
}

// beginning is content that an earlier flight left in the store.
type beginning struct {
	*dag.Partial
	note note
	used bool // by an import, which settles what becomes of it
}

// note is what is kept beside a beginning.
type note struct {
	Meta []byte `json:"meta"` // connectors.Body.Meta
}

// beginning finds what an earlier flight left of an item; nil if there is nothing.
func (e *Engine) beginning(ctx context.Context, f *flight) (*beginning, error) {
	it := f.item
	for _, name := range names(it) {
		p, err := dag.Resume(ctx, partOf(e.storeFor(it), f.part), name)
		if err != nil {
			return nil, err
		}
		if p == nil {
			continue
		}
		b := &beginning{Partial: p}
		if json.Unmarshal(p.Note(), &b.note) == nil && (it.Size < 0 || it.Size == p.Total()) {
			return b, nil
		}
		if err := p.Drop(); err != nil {
			return nil, err
		}
	}
	return nil, nil //nolint:nilnil // as the comment says
}

// open opens the rest of an item.
func (b *beginning) open(ctx context.Context, it connectors.Item) (*connectors.Body, error) {
	body, err := it.Open(ctx, b.Size(), -1, b.note.Meta)
	if err != nil {
		return nil, err
	}
	if body.Size != b.Total() {
		err := &connectors.Error{
			Op: "open", Source: it.URL,
			Err: fmt.Errorf("%w: %w: %d bytes, it had %d", connectors.ErrUpstream, connectors.ErrChanged, body.Size, b.Total()),
		}
		return nil, errors.Join(err, body.Close())
	}
	if len(body.Meta) == 0 && !expect(it).digest() {
		body.Meta = b.note.Meta // what the rest was asked for with
	}
	return body, nil
}

// isStale tells whether a download failed for what the store has of its beginning,
// or may have.
func isStale(err error) bool {
	return errors.Is(err, connectors.ErrChanged) || errors.Is(err, connectors.ErrMismatch) || errors.Is(err, dag.ErrStale)
}

// settle gives back a beginning that no import used: for another time if err is
// not its fault. A nil one is none.
func (e *Engine) settle(ctx context.Context, b *beginning, err error) {
	if b == nil || b.used {
		return
	}
	leave := b.Leave
	if err == nil || isStale(err) {
		leave = b.Drop
	}
	if err := leave(); err != nil {
		e.cfg.Logger.WarnContext(ctx, "partial content", slog.Any("error", err))
	}
}

// forget drops what a failed import left of content that turned out to be wrong.
func (e *Engine) forget(ctx context.Context, it connectors.Item) {
	for _, name := range names(it) {
		p, err := dag.Resume(ctx, e.cfg.Store, name)
		if err == nil && p != nil {
			err = p.Drop()
		}
		if err != nil {
			e.cfg.Logger.WarnContext(ctx, "partial content", slog.Any("error", err))
		}
	}
}

// keep says how the beginning of a body is kept: if somebody can tell later that
// the rest belongs to it.
func keep(it connectors.Item, body *connectors.Body) (dag.Keep, error) {
	all := names(it)
	if len(all) == 0 || !expect(it).digest() && !it.Pinned && len(body.Meta) == 0 {
		return dag.Keep{}, nil
	}
	n, err := json.Marshal(note{Meta: body.Meta})
	return dag.Keep{Name: all[0], Note: n}, err
}
