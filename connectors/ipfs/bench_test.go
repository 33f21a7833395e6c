package ipfs_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/dag"
)

// BenchmarkFetch moves a file of 1 GiB from one node to another over loopback
// TCP, both with their stores on disk, stored and verified.
func BenchmarkFetch(b *testing.B) {
	const size = 1 << 30
	src := newNode(b)
	f, err := dag.Import(b.Context(), src.store, &noise{left: size}, dag.ImportOptions{Size: size})
	if err != nil {
		b.Fatal(err)
	}
	var used time.Duration
	var peak int64
	b.SetBytes(size)
	for b.Loop() {
		b.StopTimer()
		dst := newNode(b)
		connect(b, dst, src)
		stop := watchMemory(b, &peak)
		start := cpu(b)
		b.StartTimer()
		fetch(b, dst, f.Root)
		b.StopTimer()
		used += cpu(b) - start
		stop()
		dst.stop()
		b.StartTimer()
	}
	b.ReportMetric(used.Seconds()/float64(b.N), "cpu-s/op")
	b.ReportMetric(float64(peak)/(1<<20), "RssAnon-MiB")
}

// BenchmarkFetchSmall moves files of 64 KiB one after the other between two connected
// nodes, each stored durably before the next is asked for.
func BenchmarkFetchSmall(b *testing.B) {
	src, dst := newNode(b), newNode(b)
	connect(b, dst, src)
	b.SetBytes(64 << 10)
	for b.Loop() {
		b.StopTimer()
		f := src.add(b, content(b, 64<<10))
		b.StartTimer()
		fetch(b, dst, f.Root)
	}
}

// noise is random content that costs little to make.
type noise struct {
	rand.ChaCha8
	left int
}

// Read fills p.
func (n *noise) Read(p []byte) (int, error) {
	p = p[:min(len(p), n.left)]
	n.left -= len(p)
	if len(p) == 0 {
		return 0, io.EOF
	}
	return n.ChaCha8.Read(p)
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

// watchMemory keeps the peak of the process's anonymous memory in bytes.
func watchMemory(b *testing.B, peak *int64) (stop func()) {
	b.Helper()
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			*peak = max(*peak, anonymous())
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// anonymous returns RssAnon in bytes, 0 where the kernel does not tell.
func anonymous() int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	lines := bufio.NewScanner(bytes.NewReader(status))
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), "RssAnon:"); ok {
			var kib int64
			if _, err := fmt.Sscanf(rest, "%d", &kib); err == nil {
				return kib << 10
			}
		}
	}
	return 0
}
