package dag

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/blockstore"
)

// TestRebuildNode makes each inner node of files anew from their leaves.
func TestRebuildNode(t *testing.T) {
	for _, tc := range []struct {
		profile Profile
		leaves  int
		nodes   int
	}{
		{Profile{chunk: 10}, 2, 1},
		{Profile{chunk: 10}, 1024, 1},
		{Profile{chunk: 10}, 1025, 3},
		{Profile{chunk: 10, links: 174}, 1000, 7},
	} {
		t.Run(fmt.Sprint(tc.profile, tc.leaves), func(t *testing.T) {
			content := make([]byte, 10*tc.leaves-3)
			rand.NewChaCha8([32]byte{1}).Read(content)
			s := blockstore.NewMemory()
			f, err := Import(t.Context(), s, bytes.NewReader(content), ImportOptions{Profile: tc.profile})
			if err != nil {
				t.Fatal(err)
			}
			var leaves []blockstore.Leaf
			var nodes []cid.Cid
			var walk func(c cid.Cid)
			walk = func(c cid.Cid) {
				blk, err := s.Get(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				if c.Type() == cid.Raw {
					leaves = append(leaves, blockstore.Leaf{CID: c, Length: int64(len(blk.RawData()))})
					return
				}
				nodes = append(nodes, c)
				links, err := Links(c, blk.RawData())
				if err != nil {
					t.Fatal(err)
				}
				for _, l := range links {
					walk(l)
				}
			}
			walk(f.Root)
			if len(leaves) != tc.leaves || len(nodes) != tc.nodes {
				t.Errorf("%d leaves and %d nodes, want %d and %d", len(leaves), len(nodes), tc.leaves, tc.nodes)
			}
			for _, c := range nodes {
				got, err := RebuildNode(leaves, cid.NewCidV1(cid.Raw, c.Hash()))
				if want, _ := s.Get(t.Context(), c); err != nil || !bytes.Equal(got, want.RawData()) {
					t.Errorf("node %s: %d bytes, %v", c, len(got), err)
				}
			}
			if got, err := RebuildNode(leaves[1:], f.Root); !ipld.IsNotFound(err) {
				t.Errorf("without a leaf: %d bytes, %v", len(got), err)
			}
		})
	}
	if got, err := RebuildNode(nil, rawCID([32]byte{})); !ipld.IsNotFound(err) {
		t.Errorf("of nothing: %d bytes, %v", len(got), err)
	}
}
