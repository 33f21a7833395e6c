package peers

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/dag"
)

// diskNode is a node with a store on disk.
func diskNode(b testing.TB) *node {
	b.Helper()
	n := &node{host: newHost(b), inbox: newInbox()}
	store, err := blockstore.Open(b.Context(), b.TempDir(), blockstore.Options{Reserve: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := store.Close(); err != nil {
			b.Error(err)
		}
	})
	if n.Service, err = New(Config{Host: n.host, Store: store}); err != nil {
		b.Fatal(err)
	}
	n.Receive(n.inbox)
	b.Cleanup(func() {
		if err := n.Close(); err != nil {
			b.Error(err)
		}
	})
	return n
}

// cpu returns the time that this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkSmall sends messages of 1 KiB, one after the other, between stores on
// disk.
func BenchmarkSmall(b *testing.B) {
	x, y := diskNode(b), diskNode(b)
	introduce(x.host, y.host)
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		f, err := dag.Import(b.Context(), x.cfg.Store, endless(uint64(i), 1024), dag.ImportOptions{})
		if err != nil {
			b.Fatal(err)
		}
		begin := time.Now()
		if _, err := x.Send(b.Context(), y.Self(), offer(fmt.Sprint("t", i), f), SendOptions{}); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-p50")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "ms-p99")
}

// BenchmarkLarge sends 1 GiB from one node to others, between stores on disk.
func BenchmarkLarge(b *testing.B) {
	const size = 1 << 30
	for _, n := range []int{1, 8} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.SetBytes(size)
			var moved int64
			var used time.Duration
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				a := diskNode(b)
				f, err := dag.Import(b.Context(), a.cfg.Store, endless(uint64(i), size), dag.ImportOptions{})
				if err != nil {
					b.Fatal(err)
				}
				var others []string
				for range n {
					y := diskNode(b)
					introduce(a.host, y.host)
					others = append(others, y.Self())
				}
				begin := cpu(b)
				b.StartTimer()
				m, errs := sendAll(b, a, others, others, f)
				b.StopTimer()
				used += cpu(b) - begin
				for _, err := range errs {
					if err != nil {
						b.Fatal(err)
					}
				}
				moved += sum(m)
				b.StartTimer()
			}
			b.ReportMetric(used.Seconds()/float64(b.N*n), "cpu-s/GiB")
			b.ReportMetric(float64(moved)/float64(b.N)/size, "x-uploaded")
		})
	}
}

// endless is a reader of n bytes that are the same for the same seed.
func endless(seed uint64, n int64) io.Reader {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return io.LimitReader(rand.NewChaCha8(key), n)
}
