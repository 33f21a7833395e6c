package rest

import (
	"context"
	"encoding/json"
	"iter"
	"sync"
	"time"

	"github.com/hypha-node/hypha-node/bridge"
)

// scripted is a job that does what a test says; for the behaviour of HTTP alone.
// What files do is tested with real jobs.
type scripted struct {
	fetch     func(ctx context.Context, r bridge.FetchRequest) ([]bridge.Result, error)
	send      func(ctx context.Context, r bridge.SendRequest) ([]bridge.Delivered, error)
	receive   func(ctx context.Context, r bridge.ReceiveRequest) iter.Seq2[bridge.Received, error]
	put       func(r bridge.PutRequest) (bridge.Published, error)
	report    func(route string, body json.RawMessage) (json.RawMessage, error)
	transfers func() []bridge.Transfer
	later     string // id that SendLater and Prefetch answer
	closing   bool

	mu    sync.Mutex
	asked []any // requests of SendLater, Prefetch and Cancel
}

var _ Resources = (*scripted)(nil)

func (s *scripted) Info() bridge.Info {
	return bridge.Info{ID: "j", WorkDir: "/w", Socket: "/s", Created: time.Unix(1_790_000_000, 0).UTC()}
}
func (s *scripted) Closing() bool { return s.closing }

func (s *scripted) Stats() bridge.Stats { return bridge.Stats{Bytes: map[string]int64{"origin": 5}} }

func (s *scripted) note(v any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, v)
}

func (s *scripted) notes() []any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func (s *scripted) Fetch(ctx context.Context, r bridge.FetchRequest) ([]bridge.Result, error) {
	if s.fetch == nil {
		return []bridge.Result{}, nil
	}
	return s.fetch(ctx, r)
}

func (s *scripted) Prefetch(_ context.Context, r bridge.FetchRequest) (string, error) {
	s.note(r)
	return s.later, nil
}

func (s *scripted) Put(_ context.Context, r bridge.PutRequest) (bridge.Published, error) {
	if s.put == nil {
		return bridge.Published{CID: "bafy", Size: 1}, nil
	}
	return s.put(r)
}

func (s *scripted) Send(ctx context.Context, r bridge.SendRequest) ([]bridge.Delivered, error) {
	if s.send == nil {
		return []bridge.Delivered{}, nil
	}
	return s.send(ctx, r)
}

func (s *scripted) SendLater(_ context.Context, r bridge.SendRequest) (string, error) {
	s.note(r)
	return s.later, nil
}

func (s *scripted) Receive(ctx context.Context, r bridge.ReceiveRequest) iter.Seq2[bridge.Received, error] {
	if s.receive == nil {
		return func(func(bridge.Received, error) bool) {}
	}
	return s.receive(ctx, r)
}

func (s *scripted) Report(_ context.Context, route string, body json.RawMessage) (json.RawMessage, error) {
	if s.report == nil {
		return json.RawMessage(`{"type":"Ok"}`), nil
	}
	return s.report(route, body)
}

func (s *scripted) Transfers() []bridge.Transfer {
	if s.transfers == nil {
		return []bridge.Transfer{}
	}
	return s.transfers()
}

func (s *scripted) Transfer(id string) (bridge.Transfer, error) {
	for _, t := range s.Transfers() {
		if t.ID == id {
			return t, nil
		}
	}
	return bridge.Transfer{}, bridge.ErrNotFound
}

func (s *scripted) Cancel(id string) error {
	if _, err := s.Transfer(id); err != nil {
		return err
	}
	s.note(id)
	return nil
}

// inbox is a queue of items for scripted.receive, with the contract of the real
// one: an item is acknowledged when the loop body has returned and Taken says so,
// or ctx has not ended where it is not set; else it goes back.
type inbox struct {
	mu    sync.Mutex
	items []bridge.Received
	next  int64         // sequence of the next item
	wake  chan struct{} // closed and renewed when items changed
	acked []int64       // sequences
}

func newInbox(n int) *inbox {
	b := &inbox{wake: make(chan struct{})}
	for range n {
		b.put()
	}
	return b
}

// item returns the item with a sequence.
func item(seq int64) bridge.Received {
	name := "m" + string(rune('a'+seq%26))
	return bridge.Received{
		Path: "incoming/" + name, Size: seq, FromPeer: "12D3KooWpeer", Sequence: seq,
		Checksum: "sha256:" + sum0, CID: "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e", Name: "<" + name + ">\u2028\n\r",
	}
}

const sum0 = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"

// put adds the next item.
func (b *inbox) put() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.items = append(b.items, item(b.next))
	b.next++
	b.changed()
}

// changed wakes who waits; b.mu is held.
func (b *inbox) changed() {
	close(b.wake)
	b.wake = make(chan struct{})
}

// state returns which items wait and which were acknowledged.
func (b *inbox) state() (waiting int, acked []int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.items), append([]int64(nil), b.acked...)
}

// take returns an item, or nil and what to wait for.
func (b *inbox) take() (*bridge.Received, <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.items) == 0 {
		return nil, b.wake
	}
	it := b.items[0]
	b.items = b.items[1:]
	return &it, nil
}

// settle takes an item back, or acknowledges it.
func (b *inbox) settle(it bridge.Received, back bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if back {
		b.items = append([]bridge.Received{it}, b.items...)
		b.changed()
		return
	}
	b.acked = append(b.acked, it.Sequence)
}

// receive is for scripted.
func (b *inbox) receive(ctx context.Context, r bridge.ReceiveRequest) iter.Seq2[bridge.Received, error] {
	return func(yield func(bridge.Received, error) bool) {
		if r.Ready != nil {
			r.Ready()
		}
		for {
			it, wake := b.take()
			if it == nil {
				var late <-chan time.Time
				if !r.Until.IsZero() {
					late = time.After(time.Until(r.Until))
				}
				select {
				case <-wake:
					continue
				case <-late:
				case <-ctx.Done():
					yield(bridge.Received{}, context.Cause(ctx))
				}
				return
			}
			more := yield(*it, nil)
			b.settle(*it, r.Taken == nil && ctx.Err() != nil || r.Taken != nil && !r.Taken())
			if !more || r.Strategy == bridge.One {
				return
			}
		}
	}
}
