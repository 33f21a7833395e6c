package cases

import (
	"context"
	"encoding/json"
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
	Seeds   int   // who have the content
	Leeches int   // who want it, all at once or in waves
	Waves   int   // leeches come in so many waves, seeds leave after the first; 0: one, and they stay
	Passive int   // connected, and want nothing
	Size    int64 // bytes of the content
	Chunk   int64 // bytes of a block; 0: 256 KiB
	Link    Link

	Goal      float64 // times the least time that the last leech should take
	Limit     float64 // times the least time that it may take; 0: Goal
	Double    float64 // share of the content that may come twice to the leeches, 0 to 1; 0: not looked at
	SeedSends float64 // copies of the content that all seeds together may send, on the wire; 0: not looked at
	Bystander float64 // share of the content that a passive node may receive, on the wire; 0: not looked at
	Raw       bool    // the bound is the time of a bare stream over the same links, Bound, not arithmetic
	Bound     float64 // seconds; with Raw only, set by who plays the case
	Stock     bool    // nodes are of stock bitswap, to compare with: no limit is looked at
	Unshaped  bool    // links are as they are: no limit is looked at
}

// Instances is how many nodes the case has.
func (c Case) Instances() int { return c.Seeds + c.Leeches + c.Passive }

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
	}
	return "passive"
}

// wave is when a leech comes, from 0.
func (c Case) wave(index int) int { return (index - c.Seeds) * c.waves() / c.Leeches }

func (c Case) waves() int { return max(c.Waves, 1) }

// Report is what one instance tells of itself.
type Report struct {
	Role    string  `json:"role"`
	Wave    int     `json:"wave"`
	Seconds float64 `json:"seconds"` // from the start of its wave; 0 unless it is a leech
	Traffic Traffic `json:"traffic"` // while the case was played
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
	if err := c.meet(ctx, w); err != nil {
		return Row{}, fmt.Errorf("meet: %w", err)
	}
	root, err := c.content(ctx, w)
	if err != nil {
		return Row{}, fmt.Errorf("content: %w", err)
	}
	before := w.Node().Traffic()
	report := Report{Role: c.role(w.Index())}
	for wave := range c.waves() {
		if err := w.Sync(ctx, fmt.Sprintf("wave %d", wave)); err != nil {
			return Row{}, err
		}
		if report.Role == "leech" && c.wave(w.Index()) == wave {
			report.Wave = wave
			if err := c.fetch(ctx, w, root, &report); err != nil {
				return Row{}, fmt.Errorf("fetch: %w", err)
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
	return c.close(ctx, w, report)
}

// fetch fetches the content and takes the times.
func (c Case) fetch(ctx context.Context, w World, root string, report *Report) error {
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
	n, err := w.Node().Fetch(ctx, root, c.Size)
	report.Seconds = w.Now().Sub(start).Seconds()
	close(stop)
	watch.Wait()
	if err == nil && n != c.Size {
		err = fmt.Errorf("%d bytes in the work directory, want %d", n, c.Size)
	}
	return err
}

// Samples of the progress in the least time, and at most.
const samples, maxSamples = 50, 1000

// meet connects every node to all that come before it.
func (c Case) meet(ctx context.Context, w World) error {
	all, err := w.Share(ctx, "addresses", []byte(w.Node().Address()))
	if err != nil {
		return err
	}
	for _, address := range all[:w.Index()] {
		if err := w.Node().Connect(ctx, string(address)); err != nil {
			return err
		}
	}
	return w.Sync(ctx, "connected")
}

// content has the seeds store the content, and everybody learn its CID.
func (c Case) content(ctx context.Context, w World) (string, error) {
	var root string
	if c.role(w.Index()) == "seed" {
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
	if c.Raw {
		return c.Bound, nil
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
