package swarm

import (
	"math/rand/v2"
	"testing"

	"github.com/ipfs/go-cid"
)

// BenchmarkSmall gets files of 64 KiB, one block each, from a connected peer over
// loopback: all that is between asking and having.
func BenchmarkSmall(b *testing.B) {
	src, dst := newNode(b, nil), newNode(b, nil)
	connect(b, dst.host, src.host)
	noise := rand.NewChaCha8([32]byte{9})
	b.SetBytes(64 << 10)
	for b.Loop() {
		b.StopTimer()
		data := make([]byte, 64<<10)
		noise.Read(data)
		blk := blockOf(b, cid.Raw, data)
		if err := src.store.Put(b.Context(), blk); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		f := dst.Fetch(b.Context(), blk.Cid(), Options{Fallback: noFallback})
		get(b, f, blk.Cid())
		f.Close()
	}
}
