package swarm

import (
	"testing"
	"time"
)

// TestLame has a source that is slow, or was late, left out where others that have the
// block will be done before it would.
func TestLame(t *testing.T) {
	c := testCID(t)
	now := time.Now()
	for _, tc := range []struct {
		name    string
		late    int     // of the one
		rate    float64 // of it, bytes per second; the other one has 10 MB/s
		wants   int     // blocks of 1 MB
		lacking bool    // the other one does not have the block
		want    bool    // the one is asked
	}{
		{"as fast", 0, 10e6, 1, false, true},
		{"not known yet", 0, 0, 1, false, true},
		{"slow, at the end", 0, 0.1e6, 1, false, false},
		{"slow, with much to do", 0, 0.1e6, 1000, false, true},
		{"slow, and nobody else has it", 0, 0.1e6, 1, true, true},
		{"late, at the end", 1, 10e6, 1, false, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &Fetch{typical: 1e6, order: make([]*want, tc.wants)}
			one := &source{f: f, p: "one", state: stateWhole, rate: tc.rate, late: tc.late, mark: now}
			other := &source{f: f, p: "other", state: stateWhole, rate: 10e6, mark: now, queued: 100e6} // it has no room
			w := &want{c: c, key: keyOf(c)}
			if tc.lacking {
				other.lacks = map[string]time.Time{w.key: time.Now()}
			}
			p := &planner{f: f, now: now, ready: []*source{one, other}, wholes: 2}
			p.best[stateWhole] = 10e6
			p.left = p.remains()
			if got := p.pick(w, stateWhole) == one; got != tc.want {
				t.Errorf("it is asked: %v, want %v", got, tc.want)
			}
		})
	}
}

// TestSteal has a source with nothing to do take over a block only where the end of
// the fetch would wait for it, and it is not nearly here.
func TestSteal(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct {
		name   string
		wants  int           // blocks of 1 MB, of which the slow one is asked for two
		since  time.Duration // that it gave one
		stolen bool
	}{
		{"at the end", 2, 0, true},
		{"with much to do", 100, 0, false},
		{"nearly here", 2, 1800 * time.Millisecond, false},
		{"overdue", 2, 5 * time.Second, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := &Fetch{typical: 1e6, order: make([]*want, tc.wants), places: make(map[string]*place)}
			thief := &source{f: f, state: stateWhole, rate: 10e6, mark: now, listed: make(map[uint32]*want)}
			slow := &source{f: f, state: stateWhole, rate: 1e6, mark: now, listed: make(map[uint32]*want)}
			first := &want{key: "first"}
			last := &want{key: "last"}
			slow.list(first, now, f.typical)
			slow.list(last, now, f.typical)
			slow.last = now.Add(-tc.since)
			p := &planner{f: f, now: now, ready: []*source{thief, slow}}
			p.best[stateWhole] = 10e6
			p.left = p.remains()
			p.steal()
			if got := last.src == thief; got != tc.stolen || first.src != slow {
				t.Errorf("the last block is taken over: %v, want %v", got, tc.stolen)
			}
		})
	}
}
