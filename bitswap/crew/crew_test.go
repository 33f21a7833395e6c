package crew

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// TestTogether has four nodes that begin at once fetch one content: the origin sends
// it about once, and nobody is left with all the work.
func TestTogether(t *testing.T) {
	o := &origin{content: noise(24 << 20)}
	nodes := newNodes(t, 4)
	shares := make([]*Share, len(nodes))
	for i, n := range nodes {
		shares[i] = n.join(t, o)
	}
	var g errgroup.Group
	for i, n := range nodes {
		g.Go(func() error {
			<-shares[i].Met()
			return n.fetch(t, shares[i], o)
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	if f := float64(o.bytes.Load()) / float64(len(o.content)); f < 1 || f > 1.1 {
		t.Errorf("the origin sent %.2f copies", f)
	}
	for i, sh := range shares {
		own, others := sh.Came()
		if own+others != int64(len(o.content)) || own == 0 || others == 0 {
			t.Errorf("node %d: %d bytes of the origin, %d of others", i, own, others)
		}
		for _, p := range sh.Parts() {
			others -= p.N
		}
		if others != 0 {
			t.Errorf("node %d: %d bytes came from nobody", i, others)
		}
	}
}

// TestAlone: who has nobody to share with asks the origin for everything once, in one
// request when there is nobody who might come.
func TestAlone(t *testing.T) {
	for others, most := range []int64{1, 20} {
		o := &origin{content: noise(5 << 20)}
		nodes := newNodes(t, 1+others)
		sh := nodes[0].join(t, o)
		select {
		case <-sh.Met():
		case <-time.After(patience):
			t.Fatal("the other one does not answer")
		}
		if sh.Crowded() || sh.Company() != (others > 0) {
			t.Errorf("%d others: crowded %v, company %v", others, sh.Crowded(), sh.Company())
		}
		if err := nodes[0].fetch(t, sh, o); err != nil {
			t.Fatal(err)
		}
		if o.asked.Load() > most || o.bytes.Load() != int64(len(o.content)) {
			t.Errorf("%d others: %d requests, %d bytes", others, o.asked.Load(), o.bytes.Load())
		}
	}
}

// TestTroubles: what one of two nodes suffers from costs the other one nothing but work.
func TestTroubles(t *testing.T) {
	errGone := errors.New("the origin is gone")
	for _, tc := range []struct {
		name  string
		other func(o *origin) *origin // what the second node's origin is like
		fails error                   // of the second node
		early bool                    // it leaves when it has claimed ranges, and sends none
	}{
		{name: "the origin of one has failed", other: func(o *origin) *origin { return &origin{content: o.content, fails: errGone} }},
		{name: "the origin of one sends no ranges", other: func(o *origin) *origin { return &origin{content: o.content, whole: true} }},
		{name: "one leaves", other: func(o *origin) *origin { return &origin{content: o.content, gate: make(chan struct{})} }, early: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o := &origin{content: noise(9<<20 + 1)}
			nodes := newNodes(t, 2)
			a, b := nodes[0].join(t, o), nodes[1].join(t, o)
			until(t, "they know each other", func() bool { return a.Crowded() && b.Crowded() })
			other := tc.other(o)
			var g errgroup.Group
			if tc.early {
				ctx, cancel := context.WithCancel(t.Context())
				r := b.Open(ctx, 0, nil, other.open)
				until(t, "it has claimed ranges", func() bool { return other.asked.Load() > 0 })
				g.Go(func() error {
					err := nodes[1].take(r)
					b.Leave(false)
					if err == nil {
						err = errors.New("it got everything")
					} else if errors.Is(err, context.Canceled) {
						err = nil
					}
					return err
				})
				cancel()
			} else {
				g.Go(func() error { return nodes[1].fetch(t, b, other) })
			}
			g.Go(func() error { return nodes[0].fetch(t, a, o) })
			if err := g.Wait(); !errors.Is(err, tc.fails) {
				t.Errorf("err = %v", err)
			}
			if own, others := a.Came(); own+others != int64(len(o.content)) || tc.early && others > 0 {
				t.Errorf("%d bytes of the origin, %d of the other one", own, others)
			}
		})
	}
}

// TestNobodyHasIt: where the origin of all has failed they say so.
func TestNobodyHasIt(t *testing.T) {
	o := &origin{content: noise(MinSize), fails: errors.New("the origin is gone")}
	nodes := newNodes(t, 2)
	a, b := nodes[0].join(t, o), nodes[1].join(t, o)
	until(t, "they know each other", func() bool { return a.Crowded() && b.Crowded() })
	var g errgroup.Group
	for i, sh := range []*Share{a, b} {
		g.Go(func() error {
			if err := nodes[i].fetch(t, sh, o); !errors.Is(err, o.fails) {
				return fmt.Errorf("node %d: %w", i, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

// TestRefused: strangers get nothing that was not claimed, and no more than a range.
func TestRefused(t *testing.T) {
	o := &origin{content: noise(MinSize)}
	nodes := newNodes(t, 2)
	sh := nodes[0].join(t, o)
	defer sh.Leave(false)
	for _, h := range []head{
		{kindRead, sh.content.Sum, 0, 100},                 // not claimed
		{kindRead, sh.content.Sum, MinSize - 10, 100},      // behind the end
		{kindRead, sh.content.Sum, 0, maxRange + 1},        // too much
		{kindRead, sh.content.Sum, 0, 0},                   // nothing
		{kindRead, [32]byte{1}, 0, 100},                    // another content
		{kindMeet, sh.content.Sum, MinSize + 1, 0},         // another size
		{kindMeet, [32]byte{1}, MinSize, 0},                // another content
		{kind: 9, sum: sh.content.Sum, a: 0, b: 100},       // nonsense
		{kind: kindRead, sum: sh.content.Sum, a: -1, b: 1}, // likewise
	} {
		st, hang, err := nodes[1].dial(t.Context(), nodes[0].host.ID())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Write(h.encode()); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(st)
		if len(got) > 0 && (h.kind != kindMeet || got[0] != 0) || err == nil && h.kind != kindMeet {
			t.Errorf("%d, %d, %d: %d bytes, %v", h.kind, h.a, h.b, len(got), err)
		}
		reset(st)
		hang()
	}
}

// FuzzWire parses what peers may send. What is understood is written the same way.
func FuzzWire(f *testing.F) {
	f.Add(head{kindMeet, [32]byte{1}, MinSize, 0}.encode())
	f.Add(note{noteClaim, 3, 4}.append(nil))
	f.Add([]byte{0, 0, 0, 2, 'a', 'b'})
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := readHead(bytes.NewReader(b)); err == nil && !bytes.Equal(h.encode(), b[:headBytes]) {
			t.Errorf("%x became %+v", b, h)
		}
		const count = 100
		if n, err := readNote(bytes.NewReader(b), count); err == nil && (n.kind < noteCount && n.first+n.n > count || !bytes.Equal(n.append(nil), b[:noteBytes])) {
			t.Errorf("%x became %+v", b, n)
		}
		var buf [8]byte
		if n, err := readPiece(bytes.NewReader(b), buf[:]); err == nil && (n > len(buf) || !bytes.Equal(buf[:n], b[4:4+n])) {
			t.Errorf("piece of %d bytes: %x", n, b)
		}
	})
}
