package peers

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hypha-node/hypha-node/blockstore"
)

// errReplaced says that the sender has begun the same transfer anew.
var errReplaced = errors.New("the sender began anew")

// taker returns who takes offers, nil for nobody.
func (s *Service) taker() Receiver {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.receiver
}

func sameSecret(a, b string) bool { return hmac.Equal([]byte(a), []byte(b)) }

// deliveryKey names a delivery.
type deliveryKey struct {
	from     peer.ID
	transfer string
}

// turn is a delivery that runs.
type turn struct {
	cancel context.CancelCauseFunc // nil: can't be hurried
	ended  chan struct{}
}

// claim makes the caller the only one that works at a delivery. An earlier
// attempt is ended: its sender has given it up, or would not begin anew.
func (s *Service) claim(ctx context.Context, key deliveryKey, cancel context.CancelCauseFunc) (leave func(), err error) {
	mine := &turn{cancel: cancel, ended: make(chan struct{})}
	for {
		s.mu.Lock()
		old := s.active[key]
		if old == nil {
			s.active[key] = mine
			s.mu.Unlock()
			return func() {
				s.mu.Lock()
				delete(s.active, key)
				s.mu.Unlock()
				close(mine.ended)
			}, nil
		}
		s.mu.Unlock()
		if old.cancel != nil {
			old.cancel(errReplaced)
		}
		select {
		case <-old.ended:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// takeOffer handles a stream on which a peer offers a file.
func (s *Service) takeOffer(st network.Stream) {
	ctx, done, err := s.enter(context.Background())
	if err != nil {
		s.abandon(st)
		return
	}
	defer done()
	from := st.Conn().RemotePeer()
	w := newWire(st, s.cfg.Stall)
	in := &intake{s: s, w: w, from: from}
	if !s.offers.add(from) {
		in.conclude(false, &Refusal{Code: CodeBusy, Detail: "too many offers at once", RetryAfter: busyRetry})
		return
	}
	defer s.offers.remove(from)
	stop := context.AfterFunc(ctx, func() { s.abandon(st) })
	b, err := w.receive()
	stop()
	if err != nil {
		s.log.Debug("offer", slog.String("peer", from.String()), slog.Any("error", err))
		s.abandon(st)
		return
	}
	bctx, end := context.WithCancel(ctx)
	in.conclude(in.run(bctx, b))
	end()
	in.beside.Wait()
}

// intake is one offer that a peer makes.
type intake struct {
	s    *Service
	w    *wire
	from peer.ID
	r    *received

	beside    sync.WaitGroup // goroutines that run until the last word was said
	committed chan struct{}  // closed when it is the sender's turn
}

// conclude says the last word.
func (in *intake) conclude(again bool, err error) {
	m := message{Kind: kindDelivered, Again: again}
	if err != nil {
		in.s.log.Debug("offer", slog.String("peer", in.from.String()), slog.Any("error", err))
		m = refused(refusalOf(err))
	}
	b, err := m.encode()
	if err == nil {
		err = in.w.send(b, nil)
	}
	if err == nil {
		err = in.w.st.Close()
	}
	if err != nil { // the sender is not there to hear it
		in.s.abandon(in.w.st)
	}
}

// refusalOf says in a code why an offer was not taken. What went wrong inside of
// this node is its own affair.
func refusalOf(err error) *Refusal {
	var no *Refusal
	switch {
	case errors.As(err, &no):
		return no
	case errors.Is(err, ErrInvalid):
		return &Refusal{Code: CodeInvalid, Detail: err.Error()}
	case errors.Is(err, blockstore.ErrNoSpace):
		return &Refusal{Code: CodeNoSpace, Detail: "no space left"}
	case errors.Is(err, ErrClosed):
		return &Refusal{Code: CodeBusy, Detail: "the node stops", RetryAfter: busyRetry}
	case errors.Is(err, errReplaced):
		return &Refusal{Code: CodeCancelled, Detail: errReplaced.Error()}
	}
	return &Refusal{Code: CodeInternal, Detail: "the receiver failed"}
}

// run judges an offer, gets the file and hands it over.
func (in *intake) run(ctx context.Context, b []byte) (again bool, err error) {
	m, err := parseMessage(b)
	if err == nil && m.Kind != kindOffer {
		err = fmt.Errorf("first message is %s: %w", m.Kind, ErrInvalid)
	}
	if err == nil {
		in.r, err = m.Offer.parse()
	}
	if err != nil {
		return false, err
	}
	pctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	leave, err := in.s.claim(pctx, deliveryKey{in.from, in.r.Transfer}, cancel)
	if err != nil {
		return false, err
	}
	defer leave()
	d, err := in.s.taker().Offered(pctx, in.from.String(), in.r.Offer, in.r.proves(in.from, in.s.self))
	if errors.Is(err, ErrDelivered) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	release := in.s.hold()
	defer release()
	defer in.s.protect(in.from, in.r.Transfer)()
	if err := in.bring(pctx, cancel, d); err != nil {
		d.Drop(err)
		return false, err
	}
	// From here on the sender can't call it off any more: what is kept is kept,
	// whether it hears of it or asks again.
	return false, d.Keep(ctx)
}

// bring gets the file into the store and waits for the sender's turn.
func (in *intake) bring(ctx context.Context, cancel context.CancelCauseFunc, d Delivery) (err error) {
	follower, _ := d.(Follower) //nolint:errcheck // nil is one that does not follow
	in.beside.Go(func() { in.attend(ctx, cancel, follower) })
	content, free, err := in.inline(ctx)
	if err != nil {
		return err
	}
	in.committed = make(chan struct{})
	if in.r.now {
		close(in.committed)
	}
	in.beside.Go(func() { in.listen(cancel) })
	store := in.s.cfg.Store
	if k, ok := d.(Keeper); ok {
		store = k.Store()
	}
	err = in.s.pull(ctx, store, delivered{in.from, in.r, content, follower})
	free()
	if err == nil {
		select {
		case <-in.committed:
			return nil
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// inline reads the content that came with the offer, nil if none did; free must
// be called when it is needed no more.
func (in *intake) inline(ctx context.Context) (content []byte, free func(), err error) {
	n := in.r.inline
	if n == 0 {
		return nil, func() {}, nil
	}
	if err := in.s.inline.Acquire(ctx, n); err != nil {
		return nil, nil, context.Cause(ctx)
	}
	free = sync.OnceFunc(func() { in.s.inline.Release(n) })
	stop := context.AfterFunc(ctx, func() { in.s.abandon(in.w.st) })
	defer stop()
	content = make([]byte, n)
	if _, err := io.ReadFull(in.w.in, content); err != nil {
		free()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, nil, gone(err)
	}
	return content, free, nil
}

// listen takes in what the sender says, until the stream ends; without a sender
// the transfer ends.
func (in *intake) listen(cancel context.CancelCauseFunc) {
	now := in.r.now
	for {
		b, err := in.w.receive()
		if err != nil {
			cancel(gone(err))
			return
		}
		m, err := parseMessage(b)
		switch {
		case err != nil:
		case m.Kind == kindAlive:
			continue
		case m.Kind == kindCommit && !now:
			now = true
			close(in.committed)
			continue
		default:
			err = fmt.Errorf("sender says %s: %w", m.Kind, ErrInvalid)
		}
		cancel(err)
		return
	}
}

// attend shows the sender that this side is alive, and ends the transfer when
// the receiver wants it no more.
func (in *intake) attend(ctx context.Context, cancel context.CancelCauseFunc, f Follower) {
	tick := time.NewTicker(in.s.cfg.Stall / aliveShare)
	defer tick.Stop()
	alive, err := message{Kind: kindAlive}.encode()
	if err != nil {
		cancel(err)
		return
	}
	var done <-chan struct{}
	if f != nil {
		done = f.Done()
	}
	for {
		select {
		case <-tick.C:
			if err := in.w.send(alive, nil); err != nil {
				cancel(gone(err))
				return
			}
		case <-done:
			cancel(&Refusal{Code: CodeCancelled, Detail: "the receiver's job ended it"})
			return
		case <-ctx.Done():
			return
		}
	}
}
