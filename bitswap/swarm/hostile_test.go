package swarm

import (
	"bytes"
	"io"
	"testing"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
)

// pretend has a host say that it has all of a root, and answer each block that is
// asked for by number as reply says; a nil reply says nothing.
func pretend(t *testing.T, h host.Host, reply func(st network.Stream, number uint32)) <-chan struct{} {
	t.Helper()
	asked := make(chan struct{}, 1024)
	ended := make(chan struct{}, 1024)
	h.SetStreamHandler(ID, func(st network.Stream) {
		defer func() { ended <- struct{}{} }()
		defer st.Reset()
		var buf []byte
		for {
			kind, body, grown, err := readFrame(st, buf)
			if err != nil {
				return
			}
			buf = grown
			switch kind {
			case askHello:
				say(st, tellState, 0, []byte{stateWhole})
			case askWant:
				first, spans, err := parseWant(body)
				if err != nil {
					t.Error(err)
					return
				}
				for _, s := range spans {
					for range max(s.n, 1) {
						select {
						case asked <- struct{}{}:
						default:
						}
						if reply != nil {
							reply(st, first)
						}
						first++
					}
				}
			}
		}
	})
	return asked
}

// say sends an answer; who doesn't listen any more is not told.
func say(st network.Stream, kind byte, number uint32, body []byte) {
	var head [headBytes]byte
	putHead(&head, kind, len(body), number)
	st.Write(append(head[:], body...))
}

// TestLiar has a peer that sends other bytes banned, and the blocks come from an
// honest one.
func TestLiar(t *testing.T) {
	liar, honest, b := newHost(t), newNode(t, nil), newNode(t, nil)
	tr := newTree(t, 20, 10_000)
	honest.add(t, tr)
	pretend(t, liar, func(st network.Stream, number uint32) {
		say(st, tellBlock, number, bytes.Repeat([]byte{7}, 10_000))
	})
	connect(t, b.host, liar)
	f := b.fetch(t, tr)
	ch, err := f.GetBlocks(t.Context(), tr.cids())
	if err == nil {
		eventually(t, "the liar is banned", func() bool { return b.isBanned(liar.ID()) })
		for range ch {
			t.Error("wrong bytes were delivered")
		}
	}
	connect(t, b.host, honest.host)
	again := b.fetch(t, tr)
	get(t, again, tr.cids()...)
	again.mu.Lock()
	defer again.mu.Unlock()
	if again.sources[liar.ID()] != nil {
		t.Error("the liar is asked again")
	}
}

// TestSilent has what a peer promises and never sends come from another one.
func TestSilent(t *testing.T) {
	silent, honest, b := newHost(t), newNode(t, nil), newNode(t, nil)
	tr := newTree(t, 20, 10_000)
	honest.add(t, tr)
	asked := pretend(t, silent, nil)
	connect(t, b.host, silent)
	f := b.fetch(t, tr)
	ch, err := f.GetBlocks(t.Context(), tr.cids())
	if err != nil {
		t.Fatal(err)
	}
	<-asked
	connect(t, b.host, honest.host)
	n := 0
	for range ch {
		n++
	}
	if n != len(tr.leaves) {
		t.Errorf("%d blocks came of %d", n, len(tr.leaves))
	}
}

// TestGarbage has each stream that breaks the rules end, and others work on.
func TestGarbage(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	tr := newTree(t, 10, 10_000)
	a.add(t, tr)
	stranger := newHost(t)
	connect(t, stranger, a.host)
	hello := helloFrame(askHello, tr.root.Cid())
	for _, tc := range []struct {
		name string
		sent []byte
	}{
		{"no hello", modeFrame(true)},
		{"length of nothing", []byte{0, 0, 0, 0}},
		{"length without end", []byte{255, 255, 255, 255, 1}},
		{"bad root", endFrame(append(newFrame(askHello), 1, 2, 3))},
		{"bad want", append(bytes.Clone(hello), endFrame(append(newFrame(askWant), 0, 0, 0, 1, 9))...)},
		{"too much", append(bytes.Clone(hello), wantFrame(0, []span{{tr.root.Cid(), 0, maxQueue}, {tr.root.Cid(), 0, maxQueue}})...)},
		{"bad cancel", append(bytes.Clone(hello), endFrame(append(newFrame(askCancel), 1))...)},
		{"bad mode", append(bytes.Clone(hello), endFrame(newFrame(askMode))...)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			st, err := stranger.NewStream(t.Context(), a.host.ID(), ID)
			if err != nil {
				t.Fatal(err)
			}
			defer st.Reset()
			st.Write(tc.sent) // may fail when the other end has reset already
			if _, err := io.Copy(io.Discard, st); err == nil {
				t.Error("the stream ended as if all were well")
			}
		})
	}
	connect(t, b.host, a.host)
	get(t, b.fetch(t, tr), tr.cids()...)
}

// TestTooManyStreams has the streams of one peer bounded.
func TestTooManyStreams(t *testing.T) {
	a := newNode(t, nil)
	tr := newTree(t, 10, 10_000)
	a.add(t, tr)
	stranger := newHost(t)
	connect(t, stranger, a.host)
	refused := 0
	for range maxPeerStreams + 8 {
		st, err := stranger.NewStream(t.Context(), a.host.ID(), ID)
		if err != nil {
			t.Fatal(err)
		}
		defer st.Reset()
		st.Write(helloFrame(askHello, tr.root.Cid()))
		var head [headBytes + 1]byte
		if _, err := io.ReadFull(st, head[:]); err != nil {
			refused++
		}
	}
	if refused != 8 {
		t.Errorf("%d streams were refused, want 8", refused)
	}
}
