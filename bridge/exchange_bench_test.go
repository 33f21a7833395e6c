package bridge_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
)

// BenchmarkSendReceive moves 1 KiB messages between two jobs on two stores on a
// disk, without a network: one after the other, and many at once.
func BenchmarkSendReceive(b *testing.B) {
	for _, parallel := range []int{1, 32} {
		b.Run(fmt.Sprintf("parallel=%d", parallel), func(b *testing.B) {
			net := bridgetest.NewNetwork()
			var jobs []*bridge.Job
			for _, id := range []string{"peer-a", "peer-b"} {
				store := bridgetest.Disk(b, filepath.Join(b.TempDir(), "store"))
				node := net.Node(id, store)
				dir := filepath.Join(b.TempDir(), "work")
				if err := os.Mkdir(dir, 0o700); err != nil {
					b.Fatal(err)
				}
				c := bridgetest.New(b, bridgetest.Options{Store: store}).Config("train", dir)
				c.Peers, c.Inbox = node, store.Records("inbox")
				j, err := bridge.Open(c)
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { j.Close() })
				node.Serve(j)
				jobs = append(jobs, j)
			}
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			all := make(chan struct{})
			go func() {
				defer close(all)
				n := 0
				for it, err := range jobs[1].Receive(ctx, bridge.ReceiveRequest{}) {
					if err != nil {
						b.Error(err)
						return
					}
					if n != int(it.Sequence) {
						b.Errorf("item %d is %d", n, it.Sequence)
					}
					if n++; n == b.N {
						return
					}
				}
			}()
			var number atomic.Int64
			dir := jobs[0].Info().WorkDir
			b.SetParallelism(parallel)
			b.SetBytes(1024)
			send := func() {
				name := fmt.Sprint("m", number.Add(1))
				if err := os.WriteFile(filepath.Join(dir, name), fmt.Appendf(nil, "%1024s", name), 0o600); err != nil {
					b.Error(err)
				}
				if _, err := jobs[0].Send(b.Context(), bridge.SendRequest{Path: name, Peers: []string{"peer-b"}, RemoveFile: true}); err != nil {
					b.Error(err)
				}
			}
			b.ResetTimer()
			if parallel == 1 {
				for range b.N {
					send()
				}
			} else {
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						send()
					}
				})
			}
			<-all
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "files/s")
		})
	}
}
