package swarm

import (
	"bytes"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/hypha-node/hypha-node/internal/dagpb"
)

func testCID(t testing.TB) cid.Cid {
	t.Helper()
	c, err := cid.Decode("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// FuzzAsk parses what an asker may send. What is understood is written the same way.
func FuzzAsk(f *testing.F) {
	c := testCID(f)
	for _, b := range [][]byte{helloFrame(askHello, c), modeFrame(true), wantFrame(7, []span{{c: c}, {c, 3, 500}}), cancelFrame([]runOf{{1, 2}, {9, 1}})} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, body, _, err := readFrame(bytes.NewReader(b), nil)
		if err != nil {
			return
		}
		switch kind {
		case askHello:
			if c, err := parseHello(body); err == nil {
				if _, again, _, err := readFrame(bytes.NewReader(helloFrame(askHello, c)), nil); err != nil || !bytes.Equal(again, body) {
					t.Errorf("hello %x became %x, %v", body, again, err)
				}
			}
		case askWant:
			first, spans, err := parseWant(body)
			if err != nil {
				return
			}
			total := 0
			for _, s := range spans {
				total += max(s.n, 1)
			}
			if total > maxQueue {
				t.Errorf("%d blocks in one frame", total)
			}
			_, again, _, err := readFrame(bytes.NewReader(wantFrame(first, spans)), nil)
			if err != nil {
				t.Fatal(err)
			}
			if n, same, err := parseWant(again); err != nil || n != first || len(same) != len(spans) {
				t.Errorf("want %x became %x, %v", body, again, err)
			}
		case askCancel:
			if runs, err := parseCancel(body); err == nil && len(runs)*8 != len(body) {
				t.Errorf("%d runs of %d bytes", len(runs), len(body))
			}
		}
	})
}

// FuzzTell parses what a holder may send.
func FuzzTell(f *testing.F) {
	c := testCID(f)
	addr, err := ma.NewMultiaddr("/ip4/192.0.2.1/tcp/4101")
	if err != nil {
		f.Fatal(err)
	}
	id, err := peer.Decode("12D3KooWGRUjLdFRgJV1FLgHuLSRPBTPhXGhEdKzHUGTMeFHpVzW")
	if err != nil {
		f.Log(err)
	}
	p, err := newPacks()
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { p.close() })
	var head [headBytes]byte
	putHead(&head, tellBlock, 12, 5)
	f.Add(p.pack([]byte("packed, packed, packed"), nil), []byte(nil), []byte(nil))
	f.Add(head[:], haveBody(c, 8, bitmap{1, 255}), peersBody([]peer.AddrInfo{{ID: id, Addrs: []ma.Multiaddr{addr}}}))
	f.Fuzz(func(t *testing.T, first, have, peers []byte) {
		if len(first) >= headBytes {
			kind, n, number, err := parseHead([headBytes]byte(first))
			if err == nil {
				var again [headBytes]byte
				putHead(&again, kind, n, number)
				if again != [headBytes]byte(first) {
					t.Errorf("head %x became %x", first, again)
				}
			}
			if data, err := p.unpack(first); err == nil && len(data) > maxBlock {
				t.Errorf("unpacked %d bytes", len(data))
			}
			if err == nil && n > maxBlock {
				t.Errorf("%d bytes", n)
			}
		}
		if node, from, bits, err := parseHave(have); err == nil {
			if n, again, same, err := parseHave(haveBody(node, from, bits)); err != nil || !n.Equals(node) || again != from || !bytes.Equal(same, bits) {
				t.Errorf("have %x became %v %d %x, %v", have, n, again, same, err)
			}
		}
		if all, err := parsePeers(peers); err == nil {
			if len(all) > maxTold {
				t.Errorf("%d peers", len(all))
			}
			if same, err := parsePeers(peersBody(all)); err != nil || len(same) != len(all) {
				t.Errorf("%d peers became %d, %v", len(all), len(same), err)
			}
		}
	})
}

// FuzzLinks reads links out of what says that it is a node.
func FuzzLinks(f *testing.F) {
	tr := newTree(f, 3, 10)
	f.Add(tr.root.RawData())
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := len(dagpb.Links(tr.root.Cid(), b)); n > len(b) {
			t.Errorf("%d links in %d bytes", n, len(b))
		}
	})
}

func TestBitmapNews(t *testing.T) {
	for _, tc := range []struct {
		name      string
		now, old  bitmap
		from, len int
	}{
		{"nothing", bitmap{3, 4}, bitmap{3, 4}, 0, 0},
		{"first", bitmap{3, 4}, bitmap{2, 4}, 0, 1},
		{"middle", bitmap{3, 4, 5, 6}, bitmap{3, 0, 5, 6}, 8, 1},
		{"ends", bitmap{3, 4, 5}, bitmap{0, 4, 0}, 0, 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if from, diff := tc.now.news(tc.old); from != tc.from || len(diff) != tc.len {
				t.Errorf("from %d, %d bytes, want %d, %d", from, len(diff), tc.from, tc.len)
			}
		})
	}
}
