package cases

import (
	"fmt"
	"slices"
	"time"
)

// Scale says how large the cases are.
type Scale struct {
	Size  int64 // bytes of the content of a flash crowd
	Short int64 // bytes of the content of the cases that are over first
	Crowd int   // leeches of it
	Most  int   // leeches of the largest crowd
	Chunk int64 // bytes of a block of the largest crowd
}

// Usual is what every change has to pass; Full is for a night. Half a block is half
// the content of the largest crowd, which is most of what a usual run moves.
func Usual() Scale {
	return Scale{Size: 64 << 20, Short: 64 << 20, Crowd: 8, Most: 16, Chunk: DefaultChunk / 2}
}

// Real is Usual for processes: where the least time is a few seconds, what they need
// of real time to meet would be a tenth of it.
func Real() Scale {
	s := Usual()
	s.Short *= 2
	return s
}

// Full is four times as large.
func Full() Scale {
	return Scale{Size: 256 << 20, Short: 256 << 20, Crowd: 16, Most: 32, Chunk: DefaultChunk}
}

// home is the link of most cases.
func home() Link { return Link{Up: 20, Down: 100, RTT: 20 * time.Millisecond} }

// again is how many bytes may come again to a node that was ended: one window of a
// copy, 28 MiB, and what was on its way.
const again = 32 << 20

// List returns the cases. Blocks are of 256 KiB unless the case says otherwise, and
// there are at least 32 for each leech. That a crowd of 16 takes at most 1.5 times as
// long as one leech follows from its Goal: one leech takes at least the least time,
// which is the same. Limit stands where the goal is not reached, or is so near that
// chance decides; the table tells both.
func List(s Scale) []Case {
	const mib = 1 << 20
	wide := int64(32*s.Most) * s.Chunk
	all := []Case{
		{Name: "flash-crowd", Seeds: 1, Leeches: s.Crowd, Size: s.Size, Link: home(), Goal: 1.25, Double: 0.02, SeedSends: 1.3, Talk: 0.002},
		{Name: "crowd-of-one", Seeds: 1, Leeches: 1, Size: s.Size / 2, Link: home(), Goal: 1.25},
		{Name: "crowd-scaling", Seeds: 1, Leeches: s.Most, Size: wide, Chunk: s.Chunk, Link: home(), Goal: 1.5},
		{Name: "many-seeds", Seeds: 8, Leeches: 1, Size: s.Short, Link: Link{Up: 20, Down: 1000, RTT: 20 * time.Millisecond}, Goal: 1.15, Double: 0.01},
		{Name: "waves", Seeds: 1, Leeches: 12, Waves: 3, Size: s.Size / 2, Link: home(), Goal: 1.3},
		{Name: "one-origin", Leeches: 8, Size: s.Short / 2, Link: home(), Origin: 50, OriginSends: 1.1, Goal: 1.4},
		{Name: "bystanders", Seeds: 1, Leeches: 4, Passive: 8, Size: s.Size / 2, Link: home(), Goal: 1.25, Bystander: 0.01},
		{Name: "slow-and-lying", Seeds: 1, Leeches: 4, Bad: []Fault{Slow, Corrupt, Mute}, Size: s.Size / 2, Link: home(), Goal: 1.3},
		{Name: "job-broadcast", Seeds: 1, Leeches: s.Crowd, Send: true, Size: s.Size, Link: home(), Goal: 1.3, SeedSends: 1.3},
		{Name: "churn", Seeds: 1, Leeches: s.Crowd / 2, Churn: 0.25, Size: 2 * s.Size, Link: home(), Goal: 1.6, Again: 0.01 + again/float64(2*s.Size)},
	}
	fat := Link{Up: 1000, Down: 1000, RTT: 100 * time.Millisecond}
	for _, chunk := range []int64{DefaultChunk, mib} {
		all = append(all, Case{Name: fmt.Sprintf("long-fat-%dK", chunk>>10), Seeds: 1, Leeches: 1, Size: 2 * s.Size, Chunk: chunk, Link: fat, Raw: true, Goal: 1.1, Limit: 1.5})
	}
	lossy := Link{Up: 100, Down: 100, RTT: 100 * time.Millisecond, Loss: 0.01}
	return append(all, Case{Name: "lossy", Seeds: 1, Leeches: 1, Size: s.Size / 4, Link: lossy, Raw: true, Goal: 1.5})
}

// Crowds returns the cases of docs/scale.md: one content, and twice as many who want
// it each time; and the same with a fourth of the bytes on links of a fourth of the
// rate, which has the same times, but for the root, and takes a third of the CPU time.
func Crowds() (all []Case) {
	quarter := home()
	quarter.Up, quarter.Down = quarter.Up/4, quarter.Down/4
	for leeches := 8; leeches <= 64; leeches *= 2 {
		c := Case{Name: fmt.Sprintf("scale-%d", leeches), Seeds: 1, Leeches: leeches, Size: 64 << 20, Link: home(), Goal: 1.25, Limit: 1.4, Double: 0.02, SeedSends: 1.3}
		all = append(all, c)
		c.SeedSends = 1.4 // four times as much of it is roots
		c.Name, c.Size, c.Chunk, c.Link = fmt.Sprintf("quarter-%d", leeches), c.Size/4, DefaultChunk/4, quarter
		all = append(all, c)
	}
	return all
}

// Baseline returns the case with stock bitswap in the place of this project's
// nodes: it has no limit.
func (c Case) Baseline() Case {
	c.Name, c.Stock = "baseline-"+c.Name, true
	return c
}

// Baselines returns those that stock bitswap can play, each as its Baseline, and the
// first once more as "baseline-bitswap", which compares by one number.
func Baselines(list []Case) (all []Case) {
	for _, c := range list {
		if c.Comparable() {
			all = append(all, c.Baseline())
		}
	}
	if len(all) > 0 {
		first := all[0]
		first.Name = "baseline-bitswap"
		all = append(all, first)
	}
	return all
}

// Processes returns all that can be played by processes: the cases, each one with
// faults without them, too, the Baselines, and Smoke.
func Processes(s Scale) []Case {
	list := List(s)
	all := append(slices.Clone(list), Smoke())
	for _, c := range list {
		if len(c.Bad) > 0 {
			all = append(all, c.Clean())
		}
	}
	return append(all, Baselines(list)...)
}

// Smoke returns the case that is played where nobody shapes links: everybody has
// to get the content.
func Smoke() Case {
	return Case{Name: "smoke", Seeds: 1, Leeches: 4, Size: 16 << 20, Link: home(), Unshaped: true}
}
