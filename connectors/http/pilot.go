package httpconn

import (
	"context"
	"slices"
	"time"
)

// What makes a connection too slow: less than an eighth of what the others give
// (their median), for ten seconds.
const (
	slowAfter = 10 * time.Second
	slowPart  = 8
)

// pilot decides how many connections a fan has. It is locked by its fan.
type pilot struct {
	base   float64 // rate without the newest connection: bytes per second
	newest *worker // whose worth is being measured; nil: nobody's
	timed  bool    // it has given bytes since the measurement began
	hold   time.Time
	pause  time.Duration // the next hold

	since   time.Time     // of the measurement
	moved   int64         // bytes since then
	starved time.Duration // that connections waited for room since then
}

// fail ends a trial without a gain, if there is one, and puts the next one off.
func (p *pilot) fail(least time.Duration) {
	p.newest = nil
	p.pause = min(max(firstHold, p.pause), maxHold)
	p.hold = time.Now().Add(max(p.pause, least))
	p.pause *= 2
}

// note takes down bytes that a connection brought. The first of the newest one
// begin the measurement anew.
func (p *pilot) note(w *worker, n int64) {
	p.moved += n
	if w == p.newest && !p.timed {
		p.timed = true
		p.rate(time.Now())
	}
}

// rate ends the measurement, begins the next one, and returns the rate in bytes
// per second and whether connections waited for room, which the reader makes.
func (p *pilot) rate(now time.Time) (rate float64, full bool) {
	took := now.Sub(p.since)
	rate, full = float64(p.moved)/took.Seconds(), p.starved > took/4
	p.since, p.moved, p.starved = now, 0, 0
	return rate, full
}

// steer lets the pilot look at the fan, until that has ended.
func (f *fan) steer(ctx context.Context) {
	t := time.NewTicker(tick / 4)
	defer t.Stop()
	defer f.wake()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if !f.look(time.Now()) {
				return
			}
		}
	}
}

// look is what the pilot does several times a tick. It returns false when the fan has
// ended.
func (f *fan) look(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running == 0 {
		return false
	}
	f.cond.Broadcast() // there may be memory again
	f.cut(now)
	p := &f.pilot
	if now.Sub(p.since) < tick || p.newest != nil && !p.timed {
		return true
	}
	rate, full := p.rate(now)
	if p.newest != nil && rate < gain*p.base {
		f.want = max(1, f.want-1)
		p.fail(0)
		return true
	}
	p.newest, p.base = nil, rate
	rest := float64(f.end - f.next)
	if full || f.want < 2 || f.want != f.running || f.running >= f.client.cfg.Connections || now.Before(p.hold) || now.Before(f.notBefore) ||
		rate > enough || rest < minPart || rest < 2*rate || f.client.throttled(rate) || !f.client.hosts.try(f.scouts.host, f.client.cfg.PerHost) {
		return true
	}
	w := &worker{slot: true}
	f.want = f.running + 1
	p.newest, p.timed = w, false
	f.start(w)
	return true
}

// cut ends attempts that are much slower than the other connections, so that the
// rest of their parts is asked for again. f is locked.
func (f *fan) cut(now time.Time) {
	for _, p := range f.parts {
		for _, p := range []*part{p, p.twin} {
			if p == nil || p.busy == nil || p.busy.cancel == nil || now.Sub(p.busy.since) < slowAfter {
				continue
			}
			a := p.busy
			a.by.speed = float64(a.got) / now.Sub(a.since).Seconds()
			if others, ok := f.median(a.by); ok && a.by.speed < others/slowPart {
				a.cancel(errSlow)
			}
			a.since, a.got = now, 0
		}
	}
}

// median returns the median of the speeds of all connections but one; f is locked.
func (f *fan) median(but *worker) (float64, bool) {
	var all []float64
	for _, w := range f.workers {
		if w != but && w.speed > 0 {
			all = append(all, w.speed)
		}
	}
	if len(all) == 0 {
		return 0, false
	}
	slices.Sort(all)
	return all[len(all)/2], true
}
