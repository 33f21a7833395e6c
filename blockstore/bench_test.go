package blockstore_test

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/blockstore"
)

// BenchmarkIngest stores files of 256 MiB in leaves of 1 MiB, durably, each by as
// many writers as there are cores; hashing is not part of it.
func BenchmarkIngest(b *testing.B) {
	const leaves, leaf = 256, 1 << 20
	d := openDisk(b, b.TempDir())
	data := content(1, leaf)
	ids := make([]cid.Cid, leaves)
	b.SetBytes(leaves * leaf)
	for n := 0; b.Loop(); n++ {
		b.StopTimer()
		for i := range ids { // the bytes don't matter: the caller has verified them
			sum := sha256.Sum256(binary.LittleEndian.AppendUint64(nil, uint64(n*leaves+i)))
			ids[i] = rawCID(sum)
		}
		node := block(cid.DagProtobuf, fmt.Appendf(nil, "node %d", n))
		b.StartTimer()
		w, err := d.NewFile(b.Context(), leaves*leaf)
		if err != nil {
			b.Fatal(err)
		}
		var wait sync.WaitGroup
		for part := range runtime.GOMAXPROCS(0) {
			wait.Go(func() {
				for i := part; i < leaves; i += runtime.GOMAXPROCS(0) {
					if err := w.WriteLeaf(int64(i)*leaf, ids[i], data); err != nil {
						b.Error(err)
					}
				}
			})
		}
		wait.Wait()
		if err := w.PutNode(node); err != nil {
			b.Fatal(err)
		}
		f := blockstore.File{Root: node.Cid(), Size: leaves * leaf}
		f.SHA256[0], f.SHA256[1] = byte(n), byte(n>>8)
		if err := w.Commit(b.Context(), f, nil); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if n%4 == 3 {
			if _, err := d.Collect(b.Context(), noLinks); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
	}
}

func noLinks(cid.Cid, []byte) ([]cid.Cid, error) { return nil, nil }

func rawCID(sum [sha256.Size]byte) cid.Cid {
	return cid.NewCidV1(cid.Raw, append([]byte{0x12, sha256.Size}, sum[:]...))
}

// BenchmarkPut stores 10,000 blocks of 4 KiB a time, synced at the end.
func BenchmarkPut(b *testing.B) {
	const n, size = 10_000, 4 << 10
	for _, batch := range []int{1, 100} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			d := openDisk(b, b.TempDir())
			b.SetBytes(n * size)
			for round := 0; b.Loop(); round++ {
				b.StopTimer()
				blks := make([]blocks.Block, n)
				for i := range blks {
					data := make([]byte, size)
					binary.LittleEndian.PutUint64(data, uint64(round))
					binary.LittleEndian.PutUint64(data[8:], uint64(i))
					blks[i] = block(cid.Raw, data)
				}
				b.StartTimer()
				for i := 0; i < n; i += batch {
					if err := d.PutMany(b.Context(), blks[i:i+batch]); err != nil {
						b.Fatal(err)
					}
				}
				if err := d.Sync(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "blocks/s")
		})
	}
}

// BenchmarkGet reads blocks of 1 MiB and 4 KiB, verified.
func BenchmarkGet(b *testing.B) {
	for _, size := range []int{4 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			d := openDisk(b, b.TempDir())
			var blks []blocks.Block
			for i := range 64 {
				blks = append(blks, block(cid.Raw, content(uint64(i), size)))
			}
			if err := d.PutMany(context.Background(), blks); err != nil {
				b.Fatal(err)
			}
			if err := d.Sync(context.Background()); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(size))
			for i := 0; b.Loop(); i++ {
				if err := d.View(b.Context(), blks[i%64].Cid(), func([]byte) error { return nil }); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkVerify hashes 256 MiB again.
func BenchmarkVerify(b *testing.B) {
	d := openDisk(b, b.TempDir())
	f := newTestFile(1, 256, 1<<20)
	if err := f.write(context.Background(), d, nil); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(f.Size)
	for b.Loop() {
		for found, err := range d.Verify(b.Context(), blockstore.VerifyOptions{}) {
			b.Fatal(found, err)
		}
	}
}
