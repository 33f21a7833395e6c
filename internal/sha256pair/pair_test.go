package sha256pair

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"testing"
)

// content returns n bytes that follow from n.
func content(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)}).Read(p)
	return p
}

// TestLeaf compares both hashes with crypto/sha256 for leaves of every length
// around the block boundaries, and for streams of several leaves.
func TestLeaf(t *testing.T) {
	sizes := []int{0, 1, 55, 56, 63, 64, 65, 119, 120, 127, 128, 129, 1000, 4096, 1 << 20, 1<<20 + 1}
	for _, leaf := range sizes {
		for _, leaves := range []int{1, 2, 3} {
			t.Run(fmt.Sprintf("%d x %d", leaves, leaf), func(t *testing.T) {
				d, whole := New(), sha256.New()
				for range leaves {
					p := content(leaf)
					whole.Write(p)
					if got, want := d.Leaf(p), sha256.Sum256(p); got != want {
						t.Fatalf("leaf hash is %x, want %x", got, want)
					}
					if got, want := d.Sum(), whole.Sum(nil); !bytes.Equal(got[:], want) {
						t.Fatalf("stream hash is %x, want %x", got, want)
					}
				}
			})
		}
	}
}

// TestSum2 compares both sums with crypto/sha256 for equal and unequal lengths.
func TestSum2(t *testing.T) {
	sizes := []int{0, 1, 63, 64, 65, 128, 1000, 4096, 1 << 20, 1<<20 + 7}
	for _, n := range sizes {
		for _, m := range sizes {
			p, q := content(n), content(m + 1)[1:]
			gotP, gotQ := Sum2(p, q)
			if gotP != sha256.Sum256(p) || gotQ != sha256.Sum256(q) {
				t.Errorf("Sum2 of %d and %d bytes is wrong", n, m)
			}
		}
	}
}

// TestResume holds the form of crypto/sha256's state that resume relies on.
func TestResume(t *testing.T) {
	d := resume(initial(), 0)
	if d == nil {
		t.Fatal("crypto/sha256 refuses the state")
	}
	d.Write([]byte("abc"))
	if want := sha256.Sum256([]byte("abc")); !bytes.Equal(d.Sum(nil), want[:]) {
		t.Fatalf("got %x, want %x", d.Sum(nil), want)
	}
}

// TestState interrupts streams after leaves of every kind of length, and goes on
// from the state alone.
func TestState(t *testing.T) {
	for _, leaf := range []int{0, 1, 63, 64, 65, 1000, 4096} {
		d, whole := New(), sha256.New()
		for n := range int64(3) {
			state, err := d.State()
			if err != nil {
				t.Fatal(err)
			}
			if d, err = Resume(state, n*int64(leaf)); err != nil {
				t.Fatal(err)
			}
			p := content(leaf)
			whole.Write(p)
			if d.Leaf(p) != sha256.Sum256(p) || [sha256.Size]byte(whole.Sum(nil)) != d.Sum() {
				t.Errorf("leaves of %d bytes: wrong hash after %d of them", leaf, n+1)
			}
			if _, err := Resume(state, n*int64(leaf)+1); err == nil {
				t.Errorf("leaves of %d bytes: state taken at a wrong length", leaf)
			}
		}
	}
	if _, err := Resume([]byte("sha\x03"), 0); err == nil {
		t.Error("a cut state was taken")
	}
}

func FuzzLeaf(f *testing.F) {
	f.Add([]byte("abc"), []byte(""), 1)
	f.Add(content(200), content(64), 3)
	f.Add(content(64), content(256), 0)
	f.Fuzz(func(t *testing.T, a, b []byte, times int) {
		d, whole := New(), sha256.New()
		for range times & 7 {
			for _, p := range [][]byte{a, b} {
				whole.Write(p)
				if d.Leaf(p) != sha256.Sum256(p) {
					t.Fatalf("leaf hash of %d bytes", len(p))
				}
			}
			sumA, sumB := Sum2(a, b)
			if sumA != sha256.Sum256(a) || sumB != sha256.Sum256(b) {
				t.Fatalf("sums of %d and %d bytes", len(a), len(b))
			}
		}
		if got := d.Sum(); !bytes.Equal(got[:], whole.Sum(nil)) {
			t.Fatal("stream hash")
		}
		follow(t, a, b)
	})
}

// follow has one digest go on by the steps of another, where it can.
func follow(t *testing.T, a, b []byte) {
	leader, follower, whole := New(), New(), sha256.New()
	for _, p := range [][]byte{a, b, a, content(128), b} {
		whole.Write(p)
		sum, step := leader.LeafStep(p)
		if sum != sha256.Sum256(p) {
			t.Fatalf("leaf hash of %d bytes", len(p))
		}
		if follower.Take(step, len(p)+64) {
			t.Fatal("took a step of another length")
		}
		if !follower.Take(step, len(p)) {
			follower.Add(p)
		} else if follower.Take(step, len(p)) {
			t.Fatal("took a step twice")
		}
		if got := follower.Sum(); !bytes.Equal(got[:], whole.Sum(nil)) {
			t.Fatal("stream hash of who follows")
		}
	}
}

func BenchmarkLeaf(b *testing.B) {
	p := content(1 << 20)
	b.Run("pair", func(b *testing.B) {
		b.SetBytes(int64(len(p)))
		d := New()
		for b.Loop() {
			d.Leaf(p)
		}
	})
	q := content(1 << 20)
	b.Run("two messages", func(b *testing.B) {
		b.SetBytes(2 * int64(len(p)))
		for b.Loop() {
			Sum2(p, q)
		}
	})
	b.Run("one hash of crypto-sha256", func(b *testing.B) {
		b.SetBytes(int64(len(p)))
		for b.Loop() {
			sha256.Sum256(p)
		}
	})
	b.Run("two hashes of crypto-sha256", func(b *testing.B) {
		b.SetBytes(int64(len(p)))
		whole := sha256.New()
		for b.Loop() {
			whole.Write(p)
			sha256.Sum256(p)
		}
	})
}
