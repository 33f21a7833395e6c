package bridge_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/dag"
)

// TestDamageIsFetchedAgain: the bytes of a stored file went bad, which shows when
// the next job gets it. That job has it from the origin.
func TestDamageIsFetchedAgain(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 3<<20/16+5)
	for i := range content { // no two leaves alike
		content[i] ^= byte(i >> 20)
	}
	for _, gone := range []bool{false, true} {
		store := blockstore.NewMemory()
		t.Cleanup(func() { store.Close() })
		w := bridgetest.New(t, bridgetest.Options{Store: store})
		f := w.Origin.Put("/model", content)
		ref := connectors.Ref{Type: connectors.TypeURI, Value: w.Origin.URL + "/model"}
		first, err := w.Open(t, "first").Fetch(t.Context(), bridge.FetchRequest{Ref: ref})
		if err != nil {
			t.Fatal(err)
		}
		root, err := cid.Decode(first[0].CID)
		if err != nil {
			t.Fatal(err)
		}
		blk, err := store.Get(t.Context(), root)
		if err != nil {
			t.Fatal(err)
		}
		leaves, err := dag.Links(root, blk.RawData())
		if err != nil {
			t.Fatal(err)
		}
		if !store.Corrupt(leaves[1]) {
			t.Fatal("nothing was spoilt")
		}
		if gone {
			f.Fail(404)
		}
		dir := t.TempDir()
		second, err := w.OpenIn(t, "second", dir).Fetch(t.Context(), bridge.FetchRequest{Ref: ref})
		if gone {
			if err == nil {
				t.Errorf("got %+v of an origin that is gone", second)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if second[0].Metadata.From != "origin" || second[0].Checksum != first[0].Checksum {
			t.Errorf("got %+v, want %s from the origin", second[0], first[0].Checksum)
		}
		got, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(second[0].Path)))
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%d bytes in the work directory, %v", len(got), err)
		}
		if err := store.View(t.Context(), leaves[1], func([]byte) error { return nil }); ipld.IsNotFound(err) || err != nil {
			t.Errorf("the store is not whole again: %v", err)
		}
		third, err := w.Open(t, "third").Fetch(t.Context(), bridge.FetchRequest{Ref: ref})
		if err != nil || third[0].Metadata.From != "store" {
			t.Errorf("third job: %+v, %v", third, err)
		}
	}
}
