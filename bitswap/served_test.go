package bitswap

import (
	"testing"

	boxoblockstore "github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	ipld "github.com/ipfs/go-ipld-format"
)

// TestServedHasTheEmptyBlock holds what the server asks before it answers: a
// block of no bytes has a size, one that is not stored has none.
func TestServedHasTheEmptyBlock(t *testing.T) {
	s := served{Blockstore: boxoblockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))}
	for _, tc := range []struct {
		content string
		want    int
	}{{"", 1}, {"x", 1}, {"four", 4}} {
		blk := blocks.NewBlock([]byte(tc.content))
		if _, err := s.GetSize(t.Context(), blk.Cid()); !ipld.IsNotFound(err) {
			t.Errorf("%q before it is stored: %v", tc.content, err)
		}
		if err := s.Put(t.Context(), blk); err != nil {
			t.Fatal(err)
		}
		if n, err := s.GetSize(t.Context(), blk.Cid()); n != tc.want || err != nil {
			t.Errorf("%q: size %d, %v; want %d", tc.content, n, err, tc.want)
		}
	}
}
