package cases

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
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

// Fault tells what is wrong with an instance.
func (c Case) Fault(index int) Fault {
	if i := index - (c.Instances() - len(c.Bad)); i >= 0 {
		return c.Bad[i]
	}
	return Honest
}

// SlowUp is what a slow node sends with, in Mbit/s.
const SlowUp = 1

// LinkOf is what an instance is connected by.
func (c Case) LinkOf(index int) Link {
	l := c.Link
	if c.Fault(index) == Slow {
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

// WithInstances returns the case for another number of instances: more or fewer
// leeches.
func (c Case) WithInstances(n int) (Case, error) {
	c.Leeches += n - c.Instances()
	if c.Leeches < 1 || c.Leeches < c.Waves {
		return c, fmt.Errorf("%s needs more than %d instances", c.Name, n)
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

// Report is what one instance tells of itself.
type Report struct {
	Role    string  `json:"role"`
	Wave    int     `json:"wave"`
	Again   bool    `json:"again,omitempty"`  // it was ended and started again
	Seconds float64 `json:"seconds"`          // from the start of its wave; 0 unless it is a leech
	Traffic Traffic `json:"traffic"`          // while the case was played
	Origin  int64   `json:"origin,omitempty"` // bytes on the wire that the origin sent meanwhile, as the first instance knows
	// Progress is the share of the content that had come, on the wire, at equal
	// distances in time from the start of the wave on; Step is the distance in
	// seconds.
	Progress []float64 `json:"progress,omitempty"`
	Step     float64   `json:"step,omitempty"`
}

// Play plays the case as one instance of its world and returns the row that all
// instances agree on. The error says that this instance failed; a bound that was
// missed is told by Row.Err.
func (c Case) Play(ctx context.Context, w World) (Row, error) {
	all, err := c.meet(ctx, w)
	if err != nil {
		return Row{}, fmt.Errorf("meet: %w", err)
	}
	root, err := c.share(ctx, w)
	if err != nil {
		return Row{}, fmt.Errorf("content: %w", err)
	}
	_, sent := w.Origin()
	before := w.Node().Traffic()
	report := Report{Role: c.role(w.Index())}
	for wave := range c.waves() {
		if err := w.Sync(ctx, fmt.Sprintf("wave %d", wave)); err != nil {
			return Row{}, err
		}
		switch {
		case report.Role == "leech" && c.wave(w.Index()) == wave:
			report.Wave = wave
			if err := c.fetch(ctx, w, content{root, all}, &report); err != nil {
				return Row{}, fmt.Errorf("fetch: %w", err)
			}
		case report.Role == "seed" && c.Send && wave == 0:
			if err := c.send(ctx, w, all); err != nil {
				return Row{}, fmt.Errorf("send: %w", err)
			}
		}
		if err := w.Sync(ctx, fmt.Sprintf("end of wave %d", wave)); err != nil {
			return Row{}, err
		}
		if report.Role == "seed" && wave == 0 && c.Waves > 1 {
			if err := w.Node().Leave(ctx); err != nil {
				return Row{}, fmt.Errorf("leave: %w", err)
			}
		}
	}
	report.Traffic = w.Node().Traffic().minus(before)
	if _, all := w.Origin(); w.Index() == 0 {
		report.Origin = all - sent
	}
	return c.close(ctx, w, report)
}

// fetch fetches the content and takes the times.
func (c Case) fetch(ctx context.Context, w World, from content, report *Report) error {
	least, err := c.Least()
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	var watch sync.WaitGroup
	start, before := w.Now(), w.Node().Traffic().Received
	report.Step = least / samples
	watch.Go(func() {
		tick := time.NewTicker(time.Duration(report.Step * float64(time.Second)))
		defer tick.Stop()
		for len(report.Progress) < maxSamples {
			select {
			case <-tick.C:
				came := w.Node().Traffic().Received - before
				report.Progress = append(report.Progress, min(1, float64(came)/float64(c.Size)))
			case <-stop:
				return
			}
		}
	})
	n, err := int64(0), error(nil)
	if report.Again = c.restarts(w.Index()); report.Again {
		err = c.half(ctx, w, from)
	}
	if err == nil {
		n, err = c.get(ctx, w, from.root)
	}
	report.Seconds = w.Now().Sub(start).Seconds()
	close(stop)
	watch.Wait()
	if err == nil && n != c.Size {
		err = fmt.Errorf("%d bytes in the work directory, want %d", n, c.Size)
	}
	return err
}

// content is what is fetched, by its CID or from a URL, and the addresses of the nodes,
// by index.
type content struct {
	root      string
	addresses [][]byte
}

// half fetches until half has come and starts the node again.
func (c Case) half(ctx context.Context, w World, from content) error {
	n, ok := w.Node().(Restarter)
	if !ok {
		return fmt.Errorf("start a node again: %w", errors.ErrUnsupported)
	}
	before := w.Node().Traffic().Received
	fctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	var fetching sync.WaitGroup
	fetching.Go(func() {
		_, err := w.Node().Fetch(fctx, from.root, c.Size)
		ended <- err
	})
	for tick := time.NewTicker(halfEvery); w.Node().Traffic().Received-before < c.Size/2; {
		select {
		case <-tick.C:
		case err := <-ended:
			tick.Stop()
			return fmt.Errorf("it ended before half had come: %w", err)
		}
	}
	if err := n.Restart(ctx, func() { cancel(); fetching.Wait() }); err != nil {
		return fmt.Errorf("start again: %w", err)
	}
	for i, address := range from.addresses {
		if i == w.Index() || c.restarts(i) { // who may be down finds out by itself
			continue
		}
		if err := w.Node().Connect(ctx, string(address)); err != nil {
			return err
		}
	}
	return nil
}

// halfEvery is how often a leech that will be ended looks how much has come.
const halfEvery = 50 * time.Millisecond

// Samples of the progress in the least time, and at most.
const samples, maxSamples = 50, 1000

// meet connects every node to all that come before it, and returns all addresses.
func (c Case) meet(ctx context.Context, w World) ([][]byte, error) {
	all, err := w.Share(ctx, "addresses", []byte(w.Node().Address()))
	if err != nil {
		return nil, err
	}
	for _, address := range all[:w.Index()] {
		if err := w.Node().Connect(ctx, string(address)); err != nil {
			return nil, err
		}
	}
	return all, w.Sync(ctx, "connected")
}

// share has the seeds store the content, and everybody learn its CID, or its URL.
func (c Case) share(ctx context.Context, w World) (string, error) {
	if c.Origin > 0 {
		url, _ := w.Origin()
		return url, nil
	}
	var root string
	switch role := c.role(w.Index()); {
	case role == "seed" && c.Send: // nobody need know the CID
		if err := c.prepare(ctx, w); err != nil {
			return "", err
		}
	case role == "seed", role == "bad":
		var err error
		if root, err = w.Node().Add(ctx, c.Size, c.Chunk); err != nil {
			return "", err
		}
	}
	all, err := w.Share(ctx, "roots", []byte(root))
	if err != nil {
		return "", err
	}
	for _, other := range all[1:c.Seeds] {
		if string(other) != string(all[0]) {
			return "", fmt.Errorf("two roots for the same content: %s and %s", all[0], other)
		}
	}
	return string(all[0]), nil
}

// close computes the row.
func (c Case) close(ctx context.Context, w World, own Report) (Row, error) {
	text, err := json.Marshal(own)
	if err != nil {
		return Row{}, err
	}
	all, err := w.Share(ctx, "reports", text)
	if err != nil {
		return Row{}, err
	}
	reports := make([]Report, len(all))
	for i, one := range all {
		if err := json.Unmarshal(one, &reports[i]); err != nil {
			return Row{}, fmt.Errorf("report of instance %d: %w", i, err)
		}
	}
	return c.row(reports)
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
