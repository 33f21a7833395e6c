package cases

import (
	"fmt"
	"time"

	"github.com/hypha-node/hypha-node/testground/bound"
)

// Link is what every node of a case is connected by.
type Link struct {
	Up, Down float64       // Mbit/s
	RTT      time.Duration // between any two nodes
	Loss     float64       // share of the packets that get lost, 0 to 1
}

// Case is one thing to play. The zero values of numbers that say how many mean
// none.
type Case struct {
	Name    string
	Seeds   int     // who have the content
	Leeches int     // who want it, all at once or in waves
	Waves   int     // leeches come in so many waves, seeds leave after the first; 0: one, and they stay
	Passive int     // connected, and want nothing
	Bad     []Fault // who have the content, too, each with a fault
	Size    int64   // bytes of the content
	Chunk   int64   // bytes of a block; 0: 256 KiB
	Churn   float64 // share of the leeches, 0 to 1, that are ended when they have half, and started again on their files
	Send    bool    // the seed's job sends the content to those of the leeches, who don't ask for it; blocks are of 1 MiB
	Link    Link
	Origin  float64 // Mbit/s at which a server sends the content, which all leeches fetch from it by its sha256; 0: there is none

	Goal        float64 // times the least time that the last leech should take
	Limit       float64 // times the least time that it may take; 0: Goal
	Double      float64 // share of the content that may come twice to the leeches, 0 to 1; 0: not looked at
	OriginSends float64 // copies of the content that the origin may send, on the wire; 0: not looked at
	SeedSends   float64 // copies of the content that all seeds together may send, on the wire; 0: not looked at
	Bystander   float64 // share of the content that a passive node may receive, on the wire; 0: not looked at
	Again       float64 // share of the content that a leech may receive beyond one copy when it is started again; 0: not looked at
	Talk        float64 // bytes that a leech may send to tell and ask, as a share of the content; 0: not looked at
	Raw         bool    // the bound is the time of a bare stream over the same links, Bound, not arithmetic
	Bound       float64 // seconds; with Raw, or with Bad, when it is the time without these; set by who plays the case
	Stock       bool    // nodes are of stock bitswap, to compare with: no limit is looked at
	Unshaped    bool    // links are as they are: no limit is looked at
}

// Fault is what is wrong with a node that has the content.
type Fault int

// Faults.
const (
	Honest  Fault = iota // nothing
	Slow                 // it sends with SlowUp
	Corrupt              // it sends other bytes than it was asked for
	Mute                 // it says that it has everything, and sends none of it
)

// Instances is how many nodes the case has.
func (c Case) Instances() int { return c.Seeds + c.Leeches + c.Passive + len(c.Bad) }

// Machines is how many machines the case is played on: one for each instance, and the
// last one for the origin, if there is one.
func (c Case) Machines() int {
	if c.Origin > 0 {
		return c.Instances() + 1
	}
	return c.Instances()
}

// Fault tells what is wrong with an instance.
func (c Case) Fault(index int) Fault {
	if i := index - (c.Instances() - len(c.Bad)); i >= 0 {
		return c.Bad[i]
	}
	return Honest
}

// SlowUp is what a slow node sends with, in Mbit/s.
const SlowUp = 1

// LinkOf is what a machine is connected by.
func (c Case) LinkOf(index int) Link {
	l := c.Link
	switch {
	case index >= c.Instances():
		l.Up = c.Origin
	case c.Fault(index) == Slow:
		l.Up = SlowUp
	}
	return l
}

// Comparable tells whether stock bitswap's nodes can play the case.
func (c Case) Comparable() bool {
	return !c.Raw && len(c.Bad) == 0 && c.Churn == 0 && c.Origin == 0 && !c.Send
}

// Clean is the case without those that have faults, and without limits.
func (c Case) Clean() Case {
	c.Name, c.Bad, c.Unshaped = c.Name+"-clean", nil, true
	return c
}

// WithMachines returns the case for another number of machines: more or fewer
// leeches.
func (c Case) WithMachines(n int) (Case, error) {
	c.Leeches += n - c.Machines()
	if c.Leeches < 1 || c.Leeches < c.Waves {
		return c, fmt.Errorf("%s needs more than %d machines", c.Name, n)
	}
	return c, nil
}

// role tells what an instance does.
func (c Case) role(index int) string {
	switch {
	case index < c.Seeds:
		return "seed"
	case index < c.Seeds+c.Leeches:
		return "leech"
	case c.Fault(index) != Honest:
		return "bad"
	}
	return "passive"
}

// wave is when a leech comes, from 0.
func (c Case) wave(index int) int { return (index - c.Seeds) * c.waves() / c.Leeches }

func (c Case) waves() int { return max(c.Waves, 1) }

// restarts tells whether an instance is ended and started again.
func (c Case) restarts(index int) bool {
	return c.role(index) == "leech" && float64(index-c.Seeds) < c.Churn*float64(c.Leeches)
}

// Least is the least time of the case in seconds, all waves together.
func (c Case) Least() (float64, error) {
	if c.Raw || len(c.Bad) > 0 {
		return c.Bound, nil
	}
	if c.Origin > 0 {
		return bound.Crowd{
			Size: c.Size, Leeches: c.Leeches, SeedUp: c.Origin * bound.Mbit,
			Up: float64(c.Leeches) * c.Link.Up * bound.Mbit, Down: c.Link.Down * bound.Mbit,
		}.Least()
	}
	var sum float64
	for wave := range c.waves() {
		var size int
		for i := c.Seeds; i < c.Seeds+c.Leeches; i++ {
			if c.wave(i) == wave {
				size++
			}
		}
		seeds := c.Seeds
		if wave > 0 {
			seeds = wave * size // who came in earlier waves
		}
		least, err := bound.Equal(c.Size, seeds, size, c.Link.Up*bound.Mbit, c.Link.Down*bound.Mbit).Least()
		if err != nil {
			return 0, err
		}
		sum += least
	}
	return sum, nil
}
