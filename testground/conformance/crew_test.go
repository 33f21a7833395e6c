package conformance

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/hypha-node/hypha-node/bitswap/crew"
	"github.com/hypha-node/hypha-node/testground/rig"
)

// stranger is a member of crews that is no daemon.
type stranger struct {
	*crew.Service
	came *arrivals
}

// arrivals is a log that tells of so many members.
type arrivals struct {
	slog.Handler
	left atomic.Int64
	all  atomic.Pointer[chan struct{}]
}

// Enabled implements slog.Handler.
func (a *arrivals) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (a *arrivals) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "a member came" && a.left.Add(-1) == 0 {
		close(*a.all.Load())
	}
	return nil
}

// expect returns what is closed when so many more members have come.
func (a *arrivals) expect(n int) <-chan struct{} {
	all := make(chan struct{})
	a.all.Store(&all)
	a.left.Store(int64(n))
	return all
}

// newStranger connects a stranger to nodes.
func newStranger(t *testing.T, nodes []*rig.Node) *stranger {
	t.Helper()
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"))
	ok(t, err)
	s := &stranger{came: &arrivals{Handler: slog.DiscardHandler}}
	s.Service, err = crew.New(crew.Config{Host: h, Logger: slog.New(s.came)})
	ok(t, err)
	t.Cleanup(func() { ok(t, errors.Join(s.Close(), h.Close())) })
	for _, n := range nodes {
		address, err := n.Address(rig.Within(t))
		ok(t, err)
		info, err := peer.AddrInfoFromP2pAddr(ma.StringCast(address))
		ok(t, err)
		ok(t, h.Connect(rig.Within(t), *info))
	}
	return s
}

// TestN03OneOrigin has four nodes that begin at once fetch one file from one origin: it
// sends about one copy. A member that sends other bytes costs those once more, for each.
func TestN03OneOrigin(t *testing.T) {
	dir := shortDir(t)
	var nodes []*rig.Node
	var jobs []*job
	for i := range 4 {
		n := start(t, filepath.Join(dir, fmt.Sprint(i)), nil)
		for _, other := range nodes {
			connect(t, n, other)
		}
		nodes = append(nodes, n)
		jobs = append(jobs, newJob(t, n))
	}
	s := newStranger(t, nodes)
	const size = 24<<20 + 11
	for _, lies := range []bool{false, true} {
		content := random(t, 810, size)
		if lies {
			content = random(t, 811, size)
		}
		url, f := shared.origin.putGated(t, fmt.Sprint("model", lies), content, 0)
		came := s.came.expect(len(nodes))
		share := s.Join(t.Context(), crew.Content{Sum: sha256.Sum256(content), Size: size, Read: func(context.Context, []byte, int64) (int, error) { return 0, io.EOF }})
		if share == nil {
			t.Fatal("not shared")
		}
		var lied atomic.Int64
		var r *crew.Reader
		if lies {
			r = share.Open(t.Context(), 0, nil, func(_ context.Context, _, n int64) (io.ReadCloser, bool, error) {
				if n < 0 {
					return nil, false, errors.New("alone it does nothing")
				}
				lied.Add(n)
				return io.NopCloser(bytes.NewReader(make([]byte, n))), true, nil
			})
		}
		opened := make(chan struct{})
		go func() {
			defer close(opened)
			select {
			case <-came:
			case <-t.Context().Done():
			}
			if !lies {
				share.Leave(false)
			}
			f.release()
		}()
		// Not parallel subtests: of those no more run at once than there are processors.
		var fetching sync.WaitGroup
		for _, j := range jobs {
			fetching.Go(func() {
				files := j.fetch(t, map[string]any{"type": "URI", "value": url, "checksum": digest(content)})
				if len(files) != 1 || files[0].Checksum != digest(content) {
					t.Errorf("%+v", files)
				}
			})
		}
		fetching.Wait()
		<-opened
		if lies {
			ok(t, r.Close())
			share.Leave(false)
		}
		// A tenth more is for a machine that is busy with other things.
		most := size*11/10 + int64(len(nodes))*lied.Load()
		t.Logf("the origin sent %.2f copies, %d bytes were lies", float64(f.bytes())/size, lied.Load())
		if f.bytes() < size || f.bytes() > most || lies && lied.Load() == 0 {
			t.Errorf("the origin sent %d bytes of a file of %d, at most %d; lies were %d", f.bytes(), size, most, lied.Load())
		}
	}
}
