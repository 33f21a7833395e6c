package sim

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

// crowd is a case in which some nodes have a file and the others want it, all at
// the same time.
type crowd struct {
	name         string
	seeds, leech int
	size         int // bytes
	leaf         int // bytes of a leaf
	links        links
	most         float64 // the ratio to the bound that fails the case; 0: 1.25 times what one stream takes
	sends        float64 // how often the seeds may send the file together
	double       float64 // of what leeches got, percent that may come twice
}

// bound is the least time, in seconds, in which all leeches can have the file:
// limited by what the seeds send if each byte leaves them once, by what one leech
// receives, and by what all together can send.
func (c crowd) bound() float64 {
	s, l := float64(c.seeds), float64(c.leech)
	bits := 8 * float64(c.size) / mbit
	return bits * max(1/(c.links.up*s), 1/c.links.down, l/(c.links.up*(s+l)))
}

func TestCrowd(t *testing.T) {
	slow := links{up: 20, down: 100, oneWay: 10 * time.Millisecond}
	// Beside TestCases: other shapes of a crowd. The limits leave room for scheduling.
	// Leeches that did not help each other would take as many times the least time as
	// there are, less one part in their count.
	fat := links{up: 200, down: 200, oneWay: 50 * time.Millisecond}
	cases := []crowd{
		{"one to one", 1, 1, 16 << 20, 1 << 20, slow, 1.25, 1.05, 1},
		{"large blocks", 1, 4, 32 << 20, 1 << 20, slow, 2.5, 2.5, 25},
		{"some of each", 4, 4, 32 << 20, 256 << 10, slow, 3, 5, 25},
		{"long fat", 1, 1, 128 << 20, 1 << 20, fat, 0, 1.05, 1},
		{"thin", 1, 1, 4 << 20, 1 << 20, links{up: 1, down: 1, oneWay: 10 * time.Millisecond}, 1.3, 1.05, 1},
	}
	t.Logf("%-12s %6s %6s %6s %9s %9s %6s %6s %6s", "case", "seeds", "leech", "MiB", "bound s", "virtual s", "ratio", "sends", "dup %")
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var most float64
			if c.most == 0 {
				inWorld(t, 2, c.links, func(t *testing.T, nodes []*node) {
					one := rawStream(t, nodes[0], nodes[1], c.size)
					t.Logf("%-12s one stream of libp2p takes %.2f s", c.name, one)
					most = 1.25 * one
				})
			}
			inWorld(t, c.seeds+c.leech, c.links, func(t *testing.T, nodes []*node) { runCrowd(t, c, nodes, most) })
		})
	}
}

// runCrowd plays one case, which fails if it takes more than most seconds; 0: what the
// case says.
func runCrowd(t *testing.T, c crowd, nodes []*node, most float64) {
	t.Helper()
	f := nodes[0].add(t, c)
	for _, n := range nodes[1:c.seeds] {
		if other := n.add(t, c); other.Root != f.Root {
			t.Fatalf("two roots for the same content: %s and %s", other.Root, f.Root)
		}
	}
	var came atomic.Int64
	var fetching sync.WaitGroup
	start := time.Now()
	for _, n := range nodes[c.seeds:] {
		fetching.Go(func() { n.fetch(t, f, &came) })
	}
	fetching.Wait()
	took := time.Since(start).Seconds()
	if want := int64(c.size) * int64(c.leech); came.Load() != want {
		t.Errorf("%d bytes came, want %d", came.Load(), want)
	}
	var sent, doubled int64
	for i, n := range nodes {
		traffic := n.ex.Swarm().Traffic()
		if i < c.seeds {
			sent += traffic.Sent
		}
		doubled += traffic.Duplicate
	}
	sends, doubles := float64(sent)/float64(c.size), 100*float64(doubled)/float64(c.size*c.leech)
	t.Logf("%-12s %6d %6d %6d %9.2f %9.2f %6.2f %6.2f %6.2f", c.name, c.seeds, c.leech, c.size>>20, c.bound(), took, took/c.bound(), sends, doubles)
	if sends > c.sends {
		t.Errorf("the seeds sent the file %.2f times, more than %.2f", sends, c.sends)
	}
	if doubles > c.double {
		t.Errorf("%.1f %% of what leeches got came twice", doubles)
	}
	if most == 0 {
		most = c.most * c.bound()
	}
	if took > most {
		t.Errorf("%s took %.2f s, more than %.2f", c.name, took, most)
	}
}

// rawStream returns the seconds in which size bytes come over a stream of libp2p on
// the same link.
func rawStream(t *testing.T, from, to *node, size int) float64 {
	t.Helper()
	const id = "/raw"
	from.host.SetStreamHandler(id, func(st network.Stream) {
		_, err := io.CopyN(st, zeros{}, int64(size))
		if err := errors.Join(err, st.CloseWrite()); err != nil {
			t.Error(err)
		}
	})
	defer from.host.RemoveStreamHandler(id)
	start := time.Now()
	st, err := to.host.NewStream(network.WithNoDial(t.Context(), "connected"), from.host.ID(), id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Write([]byte{1}); err != nil { // the protocol is agreed upon with the first write
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, st); err != nil {
		t.Fatal(err)
	}
	return time.Since(start).Seconds()
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
