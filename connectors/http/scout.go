package httpconn

import (
	"context"
	"errors"
	"sync"
	"time"
)

// When another connection may be worth it.
const (
	// tick is how long a rate is measured before anything is decided by it: the
	// rule of @huggingface/hub, which has proven itself on many links.
	tick = 500 * time.Millisecond
	// minRest is the least rest of a content that is divided: bytes.
	minRest = 8 << 20
	// minAhead and maxAhead bound how far ahead a scout asks: bytes.
	minAhead, maxAhead = 2 << 20, 16 << 20
	// firstHold and maxHold bound how long nothing is tried after a trial that
	// was no gain: each costs something, and links change slowly.
	firstHold, maxHold = 10 * time.Second, 5 * time.Minute
	// enough is what one connection has to give that no other one is tried: bytes
	// per second. It is nobody's limit, and not far from what a node takes in.
	enough = 200 << 20
	// gain is what one more connection must bring in all.
	gain = 1.05
)

// scouts watch one stream, and send ahead when a second connection may bring
// more: when the reader waits for the origin most of the time and much is left.
// What the scout asks for is a part that the stream will need; the stream goes on
// meanwhile, so that an origin that refuses a second connection, or ranges, costs
// nothing. It belongs to the stream's reader, but for the one scout under way.
type scouts struct {
	client *Client
	host   string
	open   func(ctx context.Context, probe *stream) (*segment, error)
	send   func(s *stream, off, end int64) // starts the scout
	start  func(s *stream, parts ...*part) *fan
	cancel context.CancelFunc // ends the scout
	back   chan scouted       // room for one
	away   sync.WaitGroup     // for the scout under way
	out    bool               // a scout is under way

	since  time.Time     // of the tick
	moved  int64         // bytes in it
	waited time.Duration // for them
	rate   float64       // of the last whole tick: bytes per second
	hold   time.Time     // nothing is tried before
	pause  time.Duration // the next hold
	lead   int64         // how far ahead the last scout asked: bytes
	least  int64         // how far ahead the next one asks at least: bytes
	never  bool          // the origin does not do it
}

// scouted is what a scout found.
type scouted struct {
	off int64
	end int64
	seg *segment
	err error
}

// divisible tells whether a content may come in parts, as far as its first
// answer tells: how long it is, and by what its parts are known to belong together.
func (c *Client) divisible(s *stream, seg *segment) bool {
	return c.cfg.Connections > 1 && s.end-s.pos >= minRest && s.total >= 0 &&
		(s.pinned.strong() != "" || s.target.Digest) && seg.header.Get("Accept-Ranges") != "none"
}

// newScouts returns the scouts of a stream whose first answer is seg.
func newScouts(ctx context.Context, c *Client, seg *segment) *scouts {
	post := newSignpost(c, seg.place)
	x := &scouts{
		client: c, host: seg.place.url.Host,
		back: make(chan scouted, 1), since: time.Now(), pause: firstHold,
	}
	x.open = func(ctx context.Context, probe *stream) (*segment, error) {
		got, err := probe.open(ctx, validator{}, post.send)
		if err == nil && !probe.fits(got) {
			_ = got.body.Close()
			return nil, errIndivisible
		}
		return got, err
	}
	ctx, x.cancel = context.WithCancel(ctx)
	c.hosts.add(x.host)
	x.send = func(s *stream, off, end int64) {
		probe := s.probe(off, end)
		x.away.Go(func() {
			got, err := x.open(ctx, probe)
			x.back <- scouted{off: off, end: end, seg: got, err: err}
		})
	}
	x.start = func(s *stream, parts ...*part) *fan { return newFan(ctx, x, s, parts) }
	return x
}

// errIndivisible says that an origin gives no parts of the content, or not of
// the version that is being read.
var errIndivisible = errors.New("origin gives no parts")

// probe returns a stream that can ask for one part of what s reads.
func (s *stream) probe(off, end int64) *stream {
	return &stream{
		target: s.target, ways: ways{second: s.ways.second, other: s.ways.other},
		start: off, pos: off, end: end, total: s.total, pinned: s.pinned, goesOn: true,
	}
}

// fits tells whether an answer is the part that was asked for, of the version
// that is being read. (Where a digest is checked at the end, a stream may go on
// with an answer that tells another validator: one that has no choice.)
func (s *stream) fits(seg *segment) bool {
	if !seg.part || seg.lead > maxLead {
		return false
	}
	now := validatorOf(seg.header, time.Now())
	return now.ETag == "" || now.ETag == s.pinned.ETag
}

// note takes down what a read has brought, and what it took.
func (x *scouts) note(n int, waited time.Duration) {
	if x != nil {
		x.moved += int64(n)
		x.waited += waited
	}
}

// report is called before each read of the one stream. It sends a scout when it
// is time, and makes a fan of a scout's success: true says that there is one.
func (x *scouts) report(s *stream) bool {
	if x.out {
		select {
		case got := <-x.back:
			x.out = false
			if x.judge(s, got) {
				return true
			}
		default:
		}
	}
	took := time.Since(x.since)
	if took < tick {
		return false
	}
	x.rate = float64(x.moved) / took.Seconds()
	idle := x.waited < took*3/4 // the reader is what takes the time
	x.since, x.moved, x.waited = time.Now(), 0, 0
	rest := float64(s.end - s.pos)
	switch {
	case x.out, x.never, idle, time.Now().Before(x.hold), x.client.throttled(x.rate):
		return false
	case x.rate > enough, rest < minRest, rest < 2*x.rate:
		return false
	}
	x.lead = min(max(minAhead, x.least, int64(x.rate)), maxAhead)
	off := s.pos + x.lead
	if s.end-off < minAhead || !x.client.hosts.try(x.host, x.client.cfg.PerHost) {
		return false
	}
	x.out = true
	x.send(s, off, min(s.end, off+minAhead))
	return false
}

// judge makes a fan of the stream and a scout's success, if it was one.
func (x *scouts) judge(s *stream, got scouted) bool {
	if got.err == nil && s.seg != nil && s.pos < got.off {
		head := &part{base: s.pos, at: s.pos, end: got.off, seg: s.seg}
		next := &part{base: got.off, at: got.off, end: got.end, seg: got.seg}
		if s.fan = x.start(s, head, next); s.fan != nil {
			s.seg = nil
			return true
		}
	}
	x.client.hosts.done(x.host)
	if got.err == nil {
		_ = got.seg.body.Close()
	}
	again, wait := transient(got.err, true)
	switch {
	case got.err == nil && s.pos >= got.off && x.lead < maxAhead:
		x.least = 2 * x.lead // the stream was there first
	case got.err == nil:
		x.wait(0)
	case again:
		x.wait(wait)
	default:
		x.never = true
	}
	return false
}

// wait puts the next trial off.
func (x *scouts) wait(least time.Duration) {
	x.hold = time.Now().Add(max(x.pause, least))
	x.pause = min(2*x.pause, maxHold)
	x.since, x.moved, x.waited = time.Now(), 0, 0
}

// landed takes note that several connections were given up, and why.
func (x *scouts) landed(cause error) {
	if again, _ := transient(cause, true); cause != nil && !again {
		x.never = true
	}
	x.wait(0)
}

// close ends and waits for a scout that is under way.
func (x *scouts) close() {
	if x == nil || x.cancel == nil {
		return
	}
	x.cancel()
	x.cancel = nil
	x.away.Wait()
	if x.out {
		if got := <-x.back; got.err == nil {
			_ = got.seg.body.Close()
		}
		x.client.hosts.done(x.host)
	}
	x.client.hosts.done(x.host)
}
