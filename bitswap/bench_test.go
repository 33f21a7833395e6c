package bitswap_test

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"golang.org/x/sync/errgroup"

	"github.com/hypha-node/hypha-node/bitswap"
)

// BenchmarkGet moves blocks from one node to another over loopback, with 32 MiB
// or 768 blocks asked for at a time; nothing is stored by the receiver.
func BenchmarkGet(b *testing.B) {
	for _, transport := range []string{"tcp", "udp"} {
		for _, size := range []int{1 << 20, 256 << 10, 4 << 10} {
			b.Run(fmt.Sprintf("%s-%dKiB", transport, size>>10), func(b *testing.B) { benchmarkGet(b, transport, size) })
		}
	}
}

func benchmarkGet(b *testing.B, transport string, size int) {
	src, stopA := startBench(b)
	defer stopA()
	dst, stopB := startBench(b)
	defer stopB()
	blks := src.random(b, min(256<<20/size, 10_000), size)
	if _, err := dst.Connect(b.Context(), src.addrOver(b, transport)); err != nil {
		b.Fatal(err)
	}
	window := min(32<<20/size, 768)
	b.SetBytes(int64(len(blks) * size))
	// One session, since a want that is repeated in a new session while the old
	// one ends can be lost (see Session.Refresh).
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	s := dst.Session(ctx)
	start := cpu(b)
	for b.Loop() {
		var g errgroup.Group
		g.SetLimit(window)
		if _, err := s.Get(ctx, blks[0].Cid()); err != nil {
			b.Fatal(err)
		}
		for _, blk := range blks {
			g.Go(func() error { return one(ctx, s, blk.Cid()) })
		}
		if err := g.Wait(); err != nil {
			b.Fatal(err)
		}
	}
	gib := float64(b.N) * float64(len(blks)*size) / (1 << 30)
	b.ReportMetric((cpu(b)-start).Seconds()/gib, "cpu-s/GiB")
}

// one gets one block.
func one(ctx context.Context, s *bitswap.Session, c cid.Cid) error {
	_, err := s.Get(ctx, c)
	return err
}

// startBench is start without the test's cleanup.
func startBench(b *testing.B) (*node, func()) {
	b.Helper()
	cfg := bitswap.Config{Identity: newKey(b), Listen: []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"}, Store: memory()}
	ex, err := bitswap.New(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	return &node{ex, cfg.Store}, func() {
		if err := ex.Close(); err != nil {
			b.Error(err)
		}
	}
}

// cpu returns user and system time of this process.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
