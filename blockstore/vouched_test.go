package blockstore

import (
	"errors"
	"math/rand/v2"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	ipld "github.com/ipfs/go-ipld-format"
)

// filled returns n bytes that follow from n.
func filled(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}).Read(p)
	return p
}

// TestVouched: a block is hashed once, and again when its bytes are others; what was
// not seen to match is not vouched for.
func TestVouched(t *testing.T) {
	for _, size := range []int{0, 1000, vouchLeast - 1, vouchLeast, 1 << 20} {
		v := newVouched()
		data := filled(size)
		hash := blocks.NewBlock(data).Multihash()
		for range 3 {
			if ok, err := v.matches(hash, data); !ok || err != nil {
				t.Fatalf("%d bytes: %v, %v", size, ok, err)
			}
		}
		if want := size >= vouchLeast; (len(v.sums) == 1) != want {
			t.Errorf("%d bytes: %d blocks are remembered", size, len(v.sums))
		}
		for _, i := range []int{0, size / 2, size - 1} {
			if size == 0 {
				break
			}
			data[i] ^= 4
			for range 2 {
				if ok, err := v.matches(hash, data); ok || err != nil {
					t.Errorf("%d bytes, other ones at %d: %v, %v", size, i, ok, err)
				}
			}
			data[i] ^= 4
		}
		if ok, err := v.matches(hash, data); !ok || err != nil {
			t.Errorf("%d bytes, good again: %v, %v", size, ok, err)
		}
	}
}

// TestVouchedForgets: what is remembered is bounded.
func TestVouchedForgets(t *testing.T) {
	v := newVouched()
	for i := range uint64(vouchMost) {
		v.sums[i] = i
	}
	data := filled(vouchLeast)
	if ok, err := v.matches(blocks.NewBlock(data).Multihash(), data); !ok || err != nil || len(v.sums) != 1 {
		t.Errorf("%v, %v, %d are remembered", ok, err, len(v.sums))
	}
}

// TestPass: a block that goes bad between two readings does not leave.
func TestPass(t *testing.T) {
	d, err := Open(t.Context(), t.TempDir(), Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	blk := blocks.NewBlock(filled(1 << 20))
	if err := errors.Join(d.Put(t.Context(), blk), d.Sync(t.Context())); err != nil {
		t.Fatal(err)
	}
	everybody, ok := d.Scope("").(Passer)
	if !ok {
		t.Fatal("a scope does not pass blocks on")
	}
	for _, p := range []Passer{d, everybody, d} {
		seen := false
		err := p.Pass(t.Context(), blk.Cid(), func(b []byte) error {
			seen = string(b) == string(blk.RawData())
			return nil
		})
		if err != nil || !seen {
			t.Fatalf("passed other bytes, or none: %v", err)
		}
	}
	name, off, n, err := d.Place(blk.Cid())
	if err == nil {
		err = FlipBit(name, off+n/2, 3)
	}
	if err != nil {
		t.Fatal(err)
	}
	err = everybody.Pass(t.Context(), blk.Cid(), func([]byte) error { t.Error("bad bytes leave"); return nil })
	if !errors.Is(err, ErrCorrupt) || !ipld.IsNotFound(err) {
		t.Errorf("%v, want ErrCorrupt that is a not found as well", err)
	}
}
