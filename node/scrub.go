package node

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/blockstore"
)

// Defaults of the scrub: a terabyte takes a day and a half, and a disk does not
// notice.
const (
	DefaultScrubRate  = 8 << 20 // bytes per second
	DefaultScrubEvery = 7 * 24 * time.Hour
)

// scrubRest is how long a daemon that was just started is left alone, if passes don't
// follow each other faster, and how long after a pass that failed the next one is tried.
const scrubRest = 10 * time.Minute

// scrubKey is the key of the scrub's record.
const scrubKey = "state"

// scrubState is what a scrub remembers across restarts.
type scrubState struct {
	Began time.Time `json:"began"`          // of the pass that is under way or was last
	After string    `json:"after"`          // the last segment that the pass is done with; "" when none is under way
	Last  time.Time `json:"last,omitzero"`  // when the last whole pass ended
	Under bool      `json:"under,omitzero"` // a pass is under way
}

// scrubber counts what the scrub does.
type scrubber struct {
	mu sync.Mutex
	st control.ScrubStatus
}

func (s *scrubber) status() control.ScrubStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.st
}

func (s *scrubber) change(f func(*control.ScrubStatus)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.st)
}

// scrub reads what is stored again and again, slowly, until ctx ends. What went bad
// is fetched again; what can't be stays for the next pass, or goes when it is read.
func (n *Node) scrub(ctx context.Context) error {
	every := n.cfg.ScrubEvery
	if every <= 0 {
		every = DefaultScrubEvery
	}
	records := n.store.Records("scrub")
	st, err := readScrub(ctx, records)
	if err != nil {
		n.log.WarnContext(ctx, "scrub begins anew", slog.Any("error", err))
	}
	n.scrubs.change(func(s *control.ScrubStatus) { s.Rate, s.Last = n.cfg.ScrubRate, st.Last })
	rest := time.Now().Add(min(every, scrubRest))
	for {
		due := rest
		if next := st.Began.Add(every); !st.Under && next.After(due) {
			due = next
		}
		timer := time.NewTimer(time.Until(due))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
		if err := n.scrubPass(ctx, records, &st); err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // the node ends
			}
			n.log.WarnContext(ctx, "scrub", slog.Any("error", err))
			rest = time.Now().Add(scrubRest)
		}
	}
}

// scrubPass goes once over everything, from where the last one was cut.
func (n *Node) scrubPass(ctx context.Context, records blockstore.Records, st *scrubState) error {
	if !st.Under {
		*st = scrubState{Began: time.Now(), Last: st.Last, Under: true}
	}
	n.scrubs.change(func(s *control.ScrubStatus) { s.Running = true })
	defer n.scrubs.change(func(s *control.ScrubStatus) { s.Running = false })
	var failed error
	save := func() {
		text, err := json.Marshal(st)
		if err == nil {
			err = records.Put(ctx, scrubKey, text)
		}
		if err != nil {
			failed = fmt.Errorf("state of the scrub: %w", err)
		}
	}
	done := int64(0)
	o := blockstore.VerifyOptions{
		Rate: n.cfg.ScrubRate, Mend: n.mend, Keep: true, After: st.After,
		Progress: func(now, _ int64) {
			n.scrubs.change(func(s *control.ScrubStatus) { s.Checked += now - done })
			done = now
		},
		Passed: func(segment string) {
			st.After = segment
			save()
		},
	}
	for f, err := range n.store.Verify(ctx, o) {
		if err != nil {
			return err
		}
		n.found(ctx, f)
	}
	st.After, st.Under, st.Last = "", false, time.Now()
	save()
	n.scrubs.change(func(s *control.ScrubStatus) { s.Passes, s.Last = s.Passes+1, st.Last.UTC() })
	return failed
}

// found counts and tells what a scrub found.
func (n *Node) found(ctx context.Context, f blockstore.Finding) {
	n.scrubs.change(func(s *control.ScrubStatus) {
		if s.Damaged++; f.Mended {
			s.Mended++
		}
	})
	n.log.WarnContext(ctx, "scrub found damage", slog.String("cid", f.CID.String()), slog.String("segment", f.Segment),
		slog.Int64("offset", f.Offset), slog.String("problem", f.Problem), slog.Bool("mended", f.Mended))
}

// readScrub reads the state; of none, a pass is due.
func readScrub(ctx context.Context, records blockstore.Records) (st scrubState, err error) {
	text, err := records.Get(ctx, scrubKey)
	if ipld.IsNotFound(err) {
		return st, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &st)
	}
	if err != nil {
		return scrubState{}, err
	}
	return st, nil
}
