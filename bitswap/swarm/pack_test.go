package swarm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/klauspost/compress/zstd"
	"github.com/libp2p/go-libp2p/core/network"
	"google.golang.org/protobuf/encoding/protowire"
)

// newText makes a DAG whose leaves get much smaller.
func newText(t testing.TB, count, size int) tree {
	t.Helper()
	var tr tree
	var node []byte
	for i := range count {
		leaf := blockOf(t, cid.Raw, bytes.Repeat(fmt.Appendf(nil, "%04d text, ", i), size/11+1)[:size])
		tr.leaves = append(tr.leaves, leaf)
		link := protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), leaf.Cid().Bytes())
		node = protowire.AppendBytes(protowire.AppendTag(node, 2, protowire.BytesType), link)
	}
	tr.root = blockOf(t, cid.DagProtobuf, node)
	return tr
}

// always has a node pack whatever gets smaller by it, however fast the wire is.
func (n *testNode) always() { n.packs.policy = packPolicy{speed: -1} }

// TestPacked gets a DAG that is packed on its way: the same bytes come as ever, and
// both sides know what was spared. What does not get smaller goes as it is.
func TestPacked(t *testing.T) {
	const count, size = 100, 8 << 10
	for _, tc := range []struct {
		name string
		tr   tree
		less bool
	}{{"text", newText(t, count, size), true}, {"noise", newTree(t, count, size), false}} {
		t.Run(tc.name, func(t *testing.T) {
			a, b := newNode(t, nil), newNode(t, nil)
			a.always()
			a.add(t, tc.tr)
			connect(t, b.host, a.host)
			f := b.fetch(t, tc.tr)
			get(t, f, tc.tr.root.Cid())
			f.Links(tc.tr.root.Cid(), tc.tr.cids())
			get(t, f, tc.tr.cids()...)
			f.Close()
			sent, got := a.Traffic(), b.Traffic()
			whole := int64(count*size + len(tc.tr.root.RawData()))
			if got.Received != whole || got.Duplicate != 0 {
				t.Errorf("received %+v, want %d bytes of blocks", got, whole)
			}
			if f.Saved() != got.ReceivedSaved {
				t.Errorf("the fetch saved %d, the node %d", f.Saved(), got.ReceivedSaved)
			}
			if sent.SentSaved != got.ReceivedSaved || (sent.SentSaved > whole/2) != tc.less || !tc.less && sent.SentSaved > size {
				t.Errorf("saved %d of %d, seen as %d", sent.SentSaved, whole, got.ReceivedSaved)
			}
		})
	}
}

// TestPackedForNobody asks as an asker does that unpacks nothing, or in ways that
// nobody knows yet, or says what it can't: it gets blocks as they are.
func TestPackedForNobody(t *testing.T) {
	tr := newText(t, 20, 8<<10)
	for name, says := range map[string][]byte{
		"nothing":     nil,
		"other ways":  endFrame(append(newFrame(askPacks), 7, 8)),
		"no way":      endFrame(newFrame(askPacks)),
		"later frame": endFrame(append(newFrame(99), "what is that"...)),
	} {
		t.Run(name, func(t *testing.T) {
			a, h := newNode(t, nil), newHost(t)
			a.always()
			a.add(t, tr)
			connect(t, h, a.host)
			st, err := h.NewStream(t.Context(), a.host.ID(), ID)
			if err != nil {
				t.Fatal(err)
			}
			defer st.Reset()
			spans := []span{{c: tr.root.Cid(), from: 0, n: len(tr.leaves)}}
			if _, err := st.Write(append(append(helloFrame(askHello, tr.root.Cid()), says...), wantFrame(0, spans)...)); err != nil {
				t.Fatal(err)
			}
			for got := 0; got < len(tr.leaves); {
				kind, number, body := hear(t, st)
				if kind == tellState {
					continue
				}
				if got++; kind != tellBlock || !bytes.Equal(body, tr.leaves[number].RawData()) {
					t.Fatalf("block %d: kind %d, %d bytes", number, kind, len(body))
				}
			}
		})
	}
}

// hear reads one answer.
func hear(t *testing.T, st network.Stream) (kind byte, number uint32, body []byte) {
	t.Helper()
	if err := st.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	read := func(n int) []byte {
		b := make([]byte, n)
		for off := 0; off < n; {
			m, err := st.Read(b[off:])
			if off += m; err != nil && off < n {
				t.Fatal(err)
			}
		}
		return b
	}
	kind, n, number, err := parseHead([headBytes]byte(read(headBytes)))
	if err != nil {
		t.Fatal(err)
	}
	return kind, number, read(n)
}

// TestUnpackRefuses has bombs and other nonsense refused, in memory that is bounded.
func TestUnpackRefuses(t *testing.T) {
	p, err := newPacks()
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	enc, err := zstd.NewWriter(nil, zstd.WithWindowSize(8<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	said := func(n int, frames ...[]byte) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(n)), bytes.Join(frames, nil)...)
	}
	zeros := func(n int) []byte { return enc.EncodeAll(make([]byte, n), nil) }
	var stream bytes.Buffer // says neither its length nor that it is one segment
	w, err := zstd.NewWriter(&stream, zstd.WithWindowSize(8<<20))
	if err != nil {
		t.Fatal(err)
	}
	for range 64 {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string][]byte{
		"nothing":                nil,
		"short":                  {0, 0, 1},
		"no frame":               said(10),
		"garbage":                said(10, []byte("no frame of zstd")),
		"more than a block":      said(maxBlock+1, zeros(maxBlock+1)),
		"a length of 4 GiB":      said(1<<32-1, zeros(10)),
		"more than it says":      said(10, zeros(1000)),
		"less than it says":      said(1000, zeros(10)),
		"a bomb":                 said(maxBlock, zeros(64<<20)),
		"a bomb without lengths": said(maxBlock, stream.Bytes()),
		"many frames":            said(maxBlock, bytes.Repeat(zeros(1<<20), 1000)),
		"cut off":                said(1<<20, zeros(1 << 20)[:20]),
	} {
		t.Run(name, func(t *testing.T) {
			if data, err := p.unpack(body); !errors.Is(err, errPacked) || data != nil {
				t.Errorf("%d bytes, %v", len(data), err)
			}
		})
	}
	if data, err := p.unpack(p.pack([]byte("text"), nil)); err != nil || string(data) != "text" {
		t.Errorf("%q, %v", data, err)
	}
}

// TestPackedLiar has a peer banned that sends what can't be unpacked, or unpacks to
// another block.
func TestPackedLiar(t *testing.T) {
	p, err := newPacks()
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	tr := newText(t, 20, 8<<10)
	for name, body := range map[string][]byte{
		"a bomb":        append(binary.BigEndian.AppendUint32(nil, 8<<10), p.enc.EncodeAll(make([]byte, 64<<20), nil)...),
		"another block": p.pack(make([]byte, 8<<10), nil),
	} {
		t.Run(name, func(t *testing.T) {
			liar, b := newHost(t), newNode(t, nil)
			pretend(t, liar, func(st network.Stream, number uint32) { say(st, tellPacked, number, body) })
			connect(t, b.host, liar)
			f := b.fetch(t, tr)
			ch, err := f.GetBlocks(t.Context(), tr.cids())
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "the liar is banned", func() bool { return b.isBanned(liar.ID()) })
			for range ch {
				t.Error("wrong bytes were delivered")
			}
		})
	}
}

// TestPackingPays is a table of what is packed of a thousand blocks of 1 MiB, by how
// fast they leave and are packed, and how small they get.
func TestPackingPays(t *testing.T) {
	const n, blocks = 1 << 20, 1000
	at := func(rate float64) time.Duration { return time.Duration(n / rate * float64(time.Second)) }
	for _, tc := range []struct {
		name         string
		wire, packed float64 // bytes per second
		size         int     // of a packed block
		tries, sends [2]int  // least and most
	}{
		{"text over a slow link", 10e6, 150e6, n / 3, [2]int{blocks - 2, blocks}, [2]int{blocks - 2, blocks}},
		{"weights over a slow link", 10e6, 5e9, n + 10, [2]int{1, 10}, [2]int{0, 0}},
		{"text over a fast link", 1e9, 150e6, n / 3, [2]int{1, 1}, [2]int{0, 0}},
		{"text over loopback", 5e9, 150e6, n / 3, [2]int{1, 1}, [2]int{0, 0}},
		{"saves next to nothing", 10e6, 150e6, n - n/20, [2]int{1, 10}, [2]int{0, 0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := packing{policy: packPolicy{packAfter, packSpeed}}
			p.wanted.Store(true)
			tries, sends := 0, 0
			for range blocks {
				out := n
				if p.worth(n) {
					tries++
					if p.packed(n, tc.size, at(tc.packed)) {
						sends++
						out = tc.size
					}
				}
				p.left(out, time.Duration(float64(at(tc.wire))*float64(out)/n))
			}
			if tries < tc.tries[0] || tries > tc.tries[1] || sends < tc.sends[0] || sends > tc.sends[1] {
				t.Errorf("%d tries and %d packed, want %v and %v", tries, sends, tc.tries, tc.sends)
			}
		})
	}
	var p packing
	p.left(n, time.Second)
	if p.worth(n) {
		t.Error("packed for somebody who does not unpack")
	}
}
