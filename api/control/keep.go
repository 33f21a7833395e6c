package control

import (
	"context"
	"time"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/dag"
)

// pins streams all pins.
func (s *Server) pins(ctx context.Context, _ none, out *stream[Pin]) error {
	for p, err := range s.Store.Pins(ctx) {
		if err != nil {
			return err
		}
		if err := out.item(wirePin(p)); err != nil {
			return err
		}
	}
	return nil
}

// wirePin returns the wire form of a pin.
func wirePin(p blockstore.Pin) Pin {
	w := Pin{CID: p.Root.String(), Name: p.Name, Created: p.Created.UTC(), Owner: p.Owner}
	if w.Owner == "" {
		w.Owner = bridge.PinOwner(p.Name)
	}
	if !p.Expires.IsZero() {
		w.Expires = p.Expires.UTC()
	}
	return w
}

// pin keeps a DAG. What is missing of it is fetched first, so that a pin never
// promises what is not here.
func (s *Server) pin(ctx context.Context, r PinRequest) (Pin, error) {
	p := blockstore.Pin{Name: r.Name, Expires: r.Expires, Owner: r.Owner, Created: time.Now()}
	switch {
	case p.Expired(p.Created):
		return Pin{}, invalid("expires: %s is past", p.Expires.UTC().Format(time.RFC3339))
	case len(p.Owner) > blockstore.MaxOwner:
		return Pin{}, invalid("owner: %d bytes, at most %d", len(p.Owner), blockstore.MaxOwner)
	}
	defer s.Store.Hold()() // until it is pinned
	root, err := s.whole(ctx, r.Path, r.TimeoutMS)
	if err != nil {
		return Pin{}, err
	}
	p.Root = root
	if err := s.Store.Pin(ctx, p); err != nil {
		return Pin{}, err
	}
	s.announce(ctx, root)
	return wirePin(p), nil
}

// unpin removes one pin. What it kept is dropped by the next collection.
func (s *Server) unpin(ctx context.Context, r PinRequest) (Pin, error) {
	root, err := resolve(ctx, s.Store, r.Path)
	if err != nil {
		return Pin{}, err
	}
	return Pin{CID: root.String(), Name: r.Name}, s.Store.Unpin(ctx, root, r.Name)
}

// collect drops what no pin reaches.
func (s *Server) collect(ctx context.Context, _ none) (Collected, error) {
	c, err := s.Store.Collect(ctx, dag.Links)
	return Collected{Blocks: c.Blocks, Files: c.Files, Bytes: c.Bytes}, err
}

// verify hashes everything again and streams what is damaged, which is mended if
// that is asked for and can be, else dropped.
func (s *Server) verify(ctx context.Context, r VerifyRequest, out *stream[Finding]) error {
	o := blockstore.VerifyOptions{Progress: func(done, total int64) {
		out.progress(Progress{Path: "verify", Done: done, Total: total})
	}}
	if r.Repair {
		o.Mend = s.Mend
	}
	for f, err := range s.Store.Verify(ctx, o) {
		if err != nil {
			return err
		}
		if err := out.item(Finding{CID: cidText(f.CID), Segment: f.Segment, Offset: f.Offset, Problem: f.Problem, Mended: f.Mended}); err != nil {
			return err
		}
	}
	return nil
}

// usage counts what the repository holds.
func (s *Server) usage(ctx context.Context, _ none) (Usage, error) {
	st, err := s.Store.Stat(ctx)
	return Usage{
		Repo: s.Repo, Blocks: st.Blocks, Files: st.Files, Pins: st.Pins, Segments: int64(st.Segments),
		Bytes: st.Bytes, DiskBytes: st.DiskBytes, FreeBytes: st.FreeBytes,
		StorageMax: st.Quota.Max, StorageUsed: st.Quota.Used, Evicted: st.Quota.Evicted,
	}, err
}
