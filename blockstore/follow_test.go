package blockstore_test

import (
	"bytes"
	"crypto/sha256"
	"io"
	"testing"

	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"

	"github.com/hypha-node/hypha-node/blockstore"
)

// TestReadWhileWritten reads a file that is being written: its first leaf, which
// is held in memory, what comes after, and nothing after the end.
func TestReadWhileWritten(t *testing.T) {
	d, err := blockstore.Open(t.Context(), t.TempDir(), blockstore.Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, size := range []int64{-1, 3 << 20} {
		w, err := d.NewFile(t.Context(), size)
		if err != nil {
			t.Fatal(err)
		}
		r, ok := w.(io.ReaderAt)
		if !ok {
			t.Fatal("a file that is being written can't be read")
		}
		if _, err := r.ReadAt(make([]byte, 1), 0); err == nil {
			t.Error("read what is not written")
		}
		for i := range int64(3) {
			leaf := bytes.Repeat([]byte{byte(i + 1)}, 1<<20)
			hash, err := mh.Encode(sum(leaf), mh.SHA2_256)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.WriteLeaf(i<<20, cid.NewCidV1(cid.Raw, hash), leaf); err != nil {
				t.Fatal(err)
			}
			for j := range i + 1 {
				got := make([]byte, 100)
				if _, err := r.ReadAt(got, j<<20+7); err != nil || got[0] != byte(j+1) || got[99] != byte(j+1) {
					t.Errorf("size %d, after leaf %d: leaf %d reads as %d…, %v", size, i, j, got[0], err)
				}
			}
		}
		if err := w.Abort(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.ReadAt(make([]byte, 1), 0); err == nil {
			t.Error("read what was given up")
		}
	}
}

func sum(b []byte) []byte {
	s := sha256.Sum256(b)
	return s[:]
}
