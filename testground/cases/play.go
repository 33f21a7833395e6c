package cases

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

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
	before, err := count(ctx, w)
	if err != nil {
		return Row{}, err
	}
	report, from := Report{Role: c.role(w.Index())}, content{root, all}
	for wave := range c.waves() {
		if err := c.turn(ctx, w, from, wave, &report); err != nil {
			return Row{}, err
		}
	}
	after, err := count(ctx, w)
	if err != nil {
		return Row{}, err
	}
	report.Traffic = after.traffic.minus(before.traffic)
	if w.Index() == 0 {
		report.Origin = after.origin - before.origin
	}
	return c.close(ctx, w, report)
}

// counts is what an instance and the origin have moved.
type counts struct {
	traffic Traffic
	origin  int64
}

// count asks both.
func count(ctx context.Context, w World) (n counts, err error) {
	if _, n.origin, err = w.Origin(ctx); err != nil {
		return n, fmt.Errorf("origin: %w", err)
	}
	if n.traffic, err = w.Node().Traffic(ctx); err != nil {
		return n, fmt.Errorf("traffic: %w", err)
	}
	return n, nil
}

// turn plays one wave.
func (c Case) turn(ctx context.Context, w World, from content, wave int, report *Report) error {
	if err := w.Sync(ctx, fmt.Sprintf("wave %d", wave)); err != nil {
		return err
	}
	switch {
	case report.Role == "leech" && c.wave(w.Index()) == wave:
		report.Wave = wave
		if err := c.fetch(ctx, w, from, report); err != nil {
			return fmt.Errorf("fetch: %w", err)
		}
	case report.Role == "seed" && c.Send && wave == 0:
		if err := c.send(ctx, w, from.addresses); err != nil {
			return fmt.Errorf("send: %w", err)
		}
	}
	if err := w.Sync(ctx, fmt.Sprintf("end of wave %d", wave)); err != nil {
		return err
	}
	if report.Role == "seed" && wave == 0 && c.Waves > 1 {
		if err := w.Node().Leave(ctx); err != nil {
			return fmt.Errorf("leave: %w", err)
		}
	}
	return nil
}

// fetch fetches the content and takes the times.
func (c Case) fetch(ctx context.Context, w World, from content, report *Report) error {
	least, err := c.Least()
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	var watch sync.WaitGroup
	start, before := w.Now(), w.Node().Received()
	report.Step = least / samples
	watch.Go(func() {
		tick := time.NewTicker(time.Duration(report.Step * float64(time.Second)))
		defer tick.Stop()
		for len(report.Progress) < maxSamples {
			select {
			case <-tick.C:
				came := w.Node().Received() - before
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
	before := w.Node().Received()
	fctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	var fetching sync.WaitGroup
	fetching.Go(func() {
		_, err := w.Node().Fetch(fctx, from.root, c.Size)
		ended <- err
	})
	for tick := time.NewTicker(halfEvery); w.Node().Received()-before < c.Size/2; {
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
		url, _, err := w.Origin(ctx)
		return url, err
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
