package sim

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// crowd is a case in which some nodes have a file and the others want it, all at
// the same time.
type crowd struct {
	name         string
	seeds, leech int
	size         int // bytes
	leaf         int // bytes of a leaf
	links        links
	most         float64 // the ratio to the bound that fails the case
	sends        float64 // how often the seeds may send the file together; 0: as often as leeches want it
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
	// The limits leave room for scheduling. Leeches that did not help each other would
	// take as many times the least time as there are, less one part in their count.
	cases := []crowd{
		{"one to one", 1, 1, 16 << 20, 1 << 20, slow, 1.2, 1.02},
		{"flash crowd", 1, 8, 32 << 20, 128 << 10, slow, 2.4, 2},
		{"large blocks", 1, 4, 64 << 20, 1 << 20, slow, 1.5, 1.3},
		{"many seeds", 8, 1, 64 << 20, 256 << 10, slow, 1.15, 1.02},
		{"long fat", 1, 1, 64 << 20, 1 << 20, links{up: 200, down: 200, oneWay: 50 * time.Millisecond}, 2, 1.02},
		{"thin", 1, 1, 4 << 20, 1 << 20, links{up: 1, down: 1, oneWay: 10 * time.Millisecond}, 1.2, 1.02},
	}
	t.Logf("%-12s %6s %6s %6s %9s %9s %6s %6s %6s", "case", "seeds", "leech", "MiB", "bound s", "virtual s", "ratio", "sends", "dup %")
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			inWorld(t, c.seeds+c.leech, c.links, func(t *testing.T, nodes []*node) { runCrowd(t, c, nodes) })
		})
	}
}

// runCrowd plays one case.
func runCrowd(t *testing.T, c crowd, nodes []*node) {
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
		t.Errorf("the seeds sent the file %.2f times, more than %.1f", sends, c.sends)
	}
	if ratio := took / c.bound(); ratio > c.most {
		t.Errorf("%s took %.2f times the least time, more than %.1f", c.name, ratio, c.most)
	}
}
