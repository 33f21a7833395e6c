package bridge_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/connectors/peers/peerstest"
)

// BenchmarkSendReceive moves 1 KiB messages between two jobs on two stores on a
// disk, over libp2p on loopback: one after the other, and many at once.
func BenchmarkSendReceive(b *testing.B) {
	for _, parallel := range []int{1, 32} {
		b.Run(fmt.Sprintf("parallel=%d", parallel), func(b *testing.B) {
			var stores []blockstore.Store
			var inboxes []blockstore.Records
			for range 2 {
				d := bridgetest.Disk(b, filepath.Join(b.TempDir(), "store"))
				stores, inboxes = append(stores, d), append(inboxes, d.Records("inbox"))
			}
			services := peerstest.Services(b, stores...)
			var jobs []*bridge.Job
			for i, service := range services {
				dir := filepath.Join(b.TempDir(), "work")
				if err := os.Mkdir(dir, 0o700); err != nil {
					b.Fatal(err)
				}
				w := bridgetest.New(b, bridgetest.Options{Store: stores[i]})
				c := w.Config("train", dir)
				c.Peers, c.Inbox = service, inboxes[i]
				j := w.OpenWith(b, c)
				service.Receive(taker{j})
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
				if _, err := jobs[0].Send(b.Context(), bridge.SendRequest{Path: name, Peers: []string{services[1].Self()}, RemoveFile: true}); err != nil {
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
