package peers

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// aliveShare is how often per stall a side that has nothing to say says so.
const aliveShare = 3

// Send offers a stored file to a peer and returns when it is kept there. A
// *Refusal is the peer's no; ErrUnreachable, ErrStalled and ErrGone tell that it
// is not known whether the peer took it: the same Transfer may be sent again.
// When ctx ends, the peer's side ends as well.
func (s *Service) Send(ctx context.Context, to string, o Offer, opts SendOptions) (Receipt, error) {
	id, err := parseID(to)
	if err != nil {
		return Receipt{}, err
	}
	if err := o.check(); err != nil {
		return Receipt{}, err
	}
	ctx, done, err := s.enter(ctx)
	if err != nil {
		return Receipt{}, err
	}
	defer done()
	release := s.hold()
	defer release()
	if have, err := s.cfg.Store.File(ctx, o.File.Root); err != nil {
		return Receipt{}, err
	} else if have.Size != o.File.Size || have.SHA256 != o.File.SHA256 {
		return Receipt{}, fmt.Errorf("offer of %s with another size or digest: %w", o.File.Root, ErrInvalid)
	}
	if id == s.self {
		return s.loop(ctx, o, opts)
	}
	r, err := s.deliver(ctx, id, o, opts)
	var no *Refusal
	if err != nil && ctx.Err() != nil && !errors.As(err, &no) {
		err = context.Cause(ctx)
	}
	return r, err
}

// deliver sends a file to another node.
func (s *Service) deliver(ctx context.Context, to peer.ID, o Offer, opts SendOptions) (Receipt, error) {
	if err := s.reach(ctx, to); err != nil {
		return Receipt{}, err
	}
	defer s.protect(to, o.Transfer)()
	text, tail, err := s.offer(ctx, to, o)
	if err != nil {
		return Receipt{}, err
	}
	if len(tail) > 0 && opts.Pace != nil {
		if err := opts.Pace(ctx, len(tail)); err != nil {
			return Receipt{}, err
		}
	}
	up := &upload{root: o.File.Root, to: to, transfer: o.Transfer, paced: opts.Pace, progress: opts.Progress}
	defer s.shares.addUpload(up)()
	st, err := s.cfg.Host.NewStream(ctx, to, protoOffer)
	if err != nil {
		return Receipt{}, fmt.Errorf("%s: %w: %w", to, ErrUnreachable, err)
	}
	defer s.abandon(st)
	stop := context.AfterFunc(ctx, func() { s.abandon(st) })
	defer stop()
	w := newWire(st, s.cfg.Stall)
	// The answer can be here before the write of what it answers has returned, which
	// then fails for the stream that is over.
	sent := sync.OnceFunc(func() { up.sent(int64(len(tail))) })
	hush := s.speak(ctx, w, text, tail, sent, opts.Turn)
	again, err := hear(w)
	if err == nil && !again && len(tail) > 0 {
		sent()
	}
	s.abandon(st) // what is not written yet is not wanted
	if failed := hush(); err != nil && failed != nil {
		err = failed
	}
	if err != nil {
		return Receipt{Moved: up.moved.Load()}, fmt.Errorf("send to %s: %w", to, err)
	}
	return Receipt{Moved: up.moved.Load(), Delivered: !again}, nil
}

// offer makes the message of an offer and the content that goes with it. Whether
// it is the sender's turn is filled in later.
func (s *Service) offer(ctx context.Context, to peer.ID, o Offer) (*wireOffer, []byte, error) {
	w := &wireOffer{
		V: version, Transfer: o.Transfer, Job: o.Job, Channel: o.Channel, Task: o.Task, Name: o.Name, Seq: o.Seq, After: o.After,
		CID: o.File.Root.String(), Size: o.File.Size, SHA256: hex.EncodeToString(o.File.SHA256[:]),
	}
	var tail []byte
	var others []peer.ID
	var err error
	if o.File.Size <= maxInline && inlined(o.File) { // nothing is left to share
		blk, err := s.cfg.Store.Get(ctx, o.File.Root)
		if err != nil {
			return nil, nil, err
		}
		w.Inline, tail = o.File.Size, blk.RawData()
	} else if others, err = circleOf(o.Others, to); err != nil {
		return nil, nil, err
	}
	o.Others = nil
	for _, id := range others {
		o.Others = append(o.Others, id.String())
		w.Others = append(w.Others, wireOther{ID: id.String(), Addrs: s.addrs(id)})
	}
	if o.Secret != "" {
		w.MAC = hex.EncodeToString(o.mac(s.self, to, o.Secret))
	}
	return w, tail, nil
}

// addrs returns where a peer may be reached by others.
func (s *Service) addrs(id peer.ID) []string {
	var texts []string
	for _, a := range s.cfg.Host.Peerstore().Addrs(id) {
		if text := a.String(); len(text) <= maxAddr && len(texts) < maxAddrs {
			texts = append(texts, text)
		}
	}
	return texts
}

// circleOf returns those with whom a receiver shares the work: all others, or
// when they are very many, its part of them.
func circleOf(others []string, to peer.ID) ([]peer.ID, error) {
	var ids []peer.ID
	for _, text := range others {
		id, err := parseID(text)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	at := slices.Index(ids, to)
	if at < 0 || len(ids) < 2 {
		return nil, nil
	}
	first := at - at%maxOthers
	return ids[first:min(len(ids), first+maxOthers)], nil
}

// speak says the offer and, in its turn, commit; in between it shows that it is
// alive. It calls sent when the content that goes with the offer is on its way. The
// returned function ends it, waits, and tells why the turn did not come, if it
// failed; that ends the stream. When the receiver can't be spoken to it is left to
// who listens to find out why.
func (s *Service) speak(ctx context.Context, w *wire, o *wireOffer, tail []byte, sent func(), wait func(context.Context) error) func() error {
	ctx, cancel := context.WithCancel(ctx)
	turn := make(chan error, 1)
	var all sync.WaitGroup
	var failed error
	all.Go(func() {
		if wait == nil {
			turn <- nil
			return
		}
		turn <- wait(ctx)
	})
	if wait == nil {
		o.Now = true
	} else {
		select { // a turn that has come saves a round trip
		case err := <-turn:
			o.Now = err == nil
			turn <- err
		case <-time.After(turnGrace):
		}
	}
	all.Go(func() { failed = s.say(ctx, w, o, tail, sent, turn) })
	return func() error {
		cancel()
		all.Wait()
		return failed
	}
}

// turnGrace is how long an offer waits for its turn to come at once.
const turnGrace = 200 * time.Microsecond

// say is what the goroutine of speak does. Its error is that of the turn.
func (s *Service) say(ctx context.Context, w *wire, o *wireOffer, tail []byte, sent func(), turn <-chan error) error {
	if tell(w, message{Kind: kindOffer, Offer: o}, tail) != nil {
		return nil
	}
	if len(tail) > 0 {
		sent()
	}
	tick := time.NewTicker(s.cfg.Stall / aliveShare)
	defer tick.Stop()
	for {
		m := message{Kind: kindAlive}
		select {
		case err := <-turn:
			if err != nil && ctx.Err() == nil {
				s.abandon(w.st)
				return err
			}
			turn = nil
			if err != nil || o.Now {
				continue
			}
			m.Kind = kindCommit
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if tell(w, m, nil) != nil {
			return nil
		}
	}
}

// tell sends one message.
func tell(w *wire, m message, tail []byte) error {
	b, err := m.encode()
	if err != nil {
		return err
	}
	return w.send(b, tail)
}

// hear waits for the receiver's last word.
func hear(w *wire) (again bool, err error) {
	for {
		b, err := w.receive()
		if err != nil {
			return false, gone(err)
		}
		m, err := parseMessage(b)
		if err != nil {
			return false, err
		}
		switch m.Kind {
		case kindAlive:
		case kindDelivered:
			return m.Again, nil
		case kindRefused:
			return false, m.refusal()
		default:
			return false, fmt.Errorf("receiver says %s: %w", m.Kind, ErrInvalid)
		}
	}
}

// gone names the end of a stream; other errors, nil too, stay what they are.
func gone(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, network.ErrReset) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return err
}

// loop gives a file to this node's own receiver.
func (s *Service) loop(ctx context.Context, o Offer, opts SendOptions) (Receipt, error) {
	r := s.taker()
	if r == nil {
		return Receipt{}, &Refusal{Code: CodeNotInJob, Detail: "nothing is received here"}
	}
	leave, err := s.claim(ctx, deliveryKey{s.self, o.Transfer}, nil)
	if err != nil {
		return Receipt{}, err
	}
	defer leave()
	secret := o.Secret
	o.Secret = ""
	d, err := r.Offered(ctx, s.Self(), o, func(other string) bool { return secret != "" && sameSecret(secret, other) })
	if errors.Is(err, ErrDelivered) {
		return Receipt{}, nil
	}
	if err != nil {
		return Receipt{}, err
	}
	if opts.Turn != nil {
		if err := opts.Turn(ctx); err != nil {
			d.Drop(err)
			return Receipt{}, err
		}
	}
	if err := d.Keep(ctx); err != nil {
		return Receipt{}, err
	}
	return Receipt{Delivered: true}, nil
}
