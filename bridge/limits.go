package bridge

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/hypha-node/hypha-node/connectors"
)

const (
	defaultInbox     = 10_000 // items: about 3 MB of records
	defaultTransfers = 64
	slotWait         = 30 * time.Second // how long a request waits for others to end
	offerWait        = 10 * time.Second // how long an offer may take to be judged
	leastBurst       = 64 << 10         // bytes that a rate lets through at once, at least: a leaf should pass in a few steps
)

// limiter holds a job to its Limits.
type limiter struct {
	limits Limits // in effect: none is -1
	out    gate   // transfers that the job began
	in     gate   // offers that it accepted: apart, or two jobs whose sends fill both could wait for each other
	later  gate   // attempts of what waits in the outbox: apart, for those in out may wait for their turn behind one of them
	pace   *rate.Limiter

	mu  sync.Mutex
	use Use
}

func newLimiter(l Limits) *limiter {
	for _, n := range []*int64{&l.Bytes, &l.Files, &l.InboundBytes, &l.Rate} {
		if *n <= 0 {
			*n = -1
		}
	}
	l.InboxItems = orDefault(l.InboxItems, defaultInbox)
	l.Transfers = orDefault(l.Transfers, defaultTransfers)
	m := &limiter{limits: l, out: newGate(l.Transfers), in: newGate(l.Transfers), later: newGate(l.Transfers)}
	if l.Rate > 0 {
		m.pace = rate.NewLimiter(rate.Limit(l.Rate), int(min(max(l.Rate, leastBurst), 1<<30)))
	}
	return m
}

// orDefault returns n, the default for 0, -1 for what is less.
func orDefault(n, otherwise int64) int64 {
	switch {
	case n == 0:
		return otherwise
	case n < 0:
		return -1
	}
	return n
}

// within tells whether n fits a limit.
func within(n, limit int64) bool { return limit < 0 || n <= limit }

// bring accounts for a file that comes into the work directory.
func (m *limiter) bring(size int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check(1, size); err != nil {
		return err
	}
	m.use.Files++
	m.use.Bytes += size
	return nil
}

// fits tells whether files could come into the work directory now: bytes in all.
func (m *limiter) fits(files, bytes int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.check(files, bytes)
}

// check is fits; m.mu is held.
func (m *limiter) check(files, bytes int64) error {
	if !within(m.use.Files+files, m.limits.Files) {
		return fmt.Errorf("%w: %d files more than the %d that are there, %d are the limit", ErrQuota, files, m.use.Files, m.limits.Files)
	}
	if !within(m.use.Bytes+bytes, m.limits.Bytes) {
		return fmt.Errorf("%w: %d bytes more than the %d that are there, %d are the limit", ErrQuota, bytes, m.use.Bytes, m.limits.Bytes)
	}
	return nil
}

// refund takes back what a file was accounted for that did not come.
func (m *limiter) refund(size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.use.Files--
	m.use.Bytes -= size
}

// admit accounts for an item of the inbox; false if there is no room.
func (m *limiter) admit(size int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !within(m.use.InboxItems+1, m.limits.InboxItems) || !within(m.use.InboundBytes+size, m.limits.InboundBytes) {
		return false
	}
	m.use.InboxItems++
	m.use.InboundBytes += size
	return true
}

// count accounts for an item that is in the inbox, whatever the limits are.
func (m *limiter) count(size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.use.InboxItems++
	m.use.InboundBytes += size
}

// dismiss takes an item out of the account.
func (m *limiter) dismiss(size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.use.InboxItems--
	m.use.InboundBytes -= size
}

// Limits returns what bounds the job: defaults are filled in, no limit is -1.
func (j *Job) Limits() Limits { return j.limits.limits }

// Use returns what the job has used of its limits since it was created; of the
// inbox, what waits in it. Transfers counts both directions.
func (j *Job) Use() Use {
	m := j.limits
	m.mu.Lock()
	defer m.mu.Unlock()
	use := m.use
	use.Transfers = m.out.held() + m.in.held() + m.later.held()
	return use
}

// gate lets a number of holders in; they come in the order in which they asked.
// One without slots lets all in and counts nobody.
type gate struct{ slots chan struct{} }

func newGate(n int64) gate {
	if n < 0 {
		return gate{}
	}
	return gate{slots: make(chan struct{}, min(n, 1<<20))}
}

// enter waits at most that long, not at all for 0, then it is ErrBusy.
func (g gate) enter(ctx context.Context, wait time.Duration) error {
	if g.slots == nil {
		return nil
	}
	select {
	case g.slots <- struct{}{}:
		return nil
	default:
	}
	if wait <= 0 {
		return fmt.Errorf("%w: %d are the limit", ErrBusy, cap(g.slots))
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case g.slots <- struct{}{}:
		return nil
	case <-timer.C:
		return fmt.Errorf("%w: %d are the limit", ErrBusy, cap(g.slots))
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (g gate) leave() {
	if g.slots != nil {
		<-g.slots
	}
}

func (g gate) held() int64 { return int64(len(g.slots)) }

// pay waits until n bytes may pass.
func (m *limiter) pay(ctx context.Context, n int) error {
	for m.pace != nil && n > 0 {
		part := min(n, m.pace.Burst())
		if err := m.pace.WaitN(ctx, part); err != nil {
			return paceError(ctx, err)
		}
		n -= part
	}
	return nil
}

// payer returns pay, nil when there is no rate.
func (m *limiter) payer() func(ctx context.Context, n int) error {
	if m.pace == nil {
		return nil
	}
	return m.pay
}

// settle waits until those who wait for their bytes have had them.
func (m *limiter) settle(ctx context.Context) error {
	if m.pace == nil {
		return nil
	}
	return paceError(ctx, m.pace.WaitN(ctx, 0))
}

// debt returns how long settle would wait.
func (m *limiter) debt() time.Duration {
	if m.pace == nil {
		return 0
	}
	tokens := m.pace.Tokens()
	if tokens >= 0 {
		return 0
	}
	return time.Duration(-tokens / float64(m.pace.Limit()) * float64(time.Second))
}

// paceError names a wait that could not end in time for what it is.
func paceError(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w: the job's rate is too low for it: %w", context.DeadlineExceeded, err)
}

// paced returns the item with content that comes at the job's rate.
func (m *limiter) paced(it connectors.Item) connectors.Item {
	open := it.Open
	if m.pace == nil || open == nil {
		return it
	}
	it.Open = func(ctx context.Context, off, n int64, cond []byte) (*connectors.Body, error) {
		body, err := open(ctx, off, n, cond)
		if err != nil || body == nil {
			return body, err
		}
		slow := *body
		slow.ReadCloser = &pacedReader{ReadCloser: body.ReadCloser, wait: func(n int) error { return m.pay(ctx, n) }, most: max(1, m.pace.Burst()/4)}
		return &slow, nil
	}
	return it
}

// pacedReader reads in steps small enough that no pause between two of them
// looks like a stall.
type pacedReader struct {
	io.ReadCloser
	wait func(n int) error
	most int
}

func (r *pacedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p[:min(len(p), r.most)])
	if werr := r.wait(n); werr != nil && err == nil {
		err = werr
	}
	return n, err
}
