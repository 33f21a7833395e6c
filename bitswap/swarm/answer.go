package swarm

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// write tells and sends until the asker has ended its side and has everything. What
// is sent is decided when there is a slot to send it in: what others have been given
// meanwhile, and what the asker does not want any more, counts.
func (a *asker) write(ctx context.Context) error {
	out := newPieces(a.st, a.s.pieces)
	defer out.release()
	timer := time.NewTimer(busyTell)
	defer timer.Stop()
	var busy time.Time // when the asker was told so
	var t *turn        // to send, when there is something
	defer func() { t.end() }()
	for {
		if err := a.tell(out); err != nil {
			return err
		}
		if a.state == stateNone {
			return errors.Join(out.Flush(), a.st.CloseWrite(), a.linger(ctx))
		}
		it, wait, err := a.next(out, t.mine())
		if err != nil {
			return err
		}
		switch {
		case wait >= 0:
			t.end()
			t = nil
		case t.mine():
			if err := a.send(ctx, out, it, t); err != nil {
				return err
			}
			t = nil
			continue
		case t == nil:
			if t = a.s.slots.claim(); t.mine() {
				continue
			}
		}
		if err := out.Flush(); err != nil {
			return err
		}
		if wait == 0 && a.over() {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return a.st.CloseWrite()
		}
		idle := wait == 0
		switch {
		case idle:
			wait = askerSilence
		case wait < 0:
			wait = busyTell
		}
		timer.Reset(wait)
		select {
		case <-a.wake:
		case <-t.may():
		case <-timer.C:
			if now := time.Now(); !idle && now.Sub(busy) >= busyTell {
				busy = now
				if err := a.head(out, tellBusy, 0, 0); err != nil {
					return err
				}
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// next finds out what to send now, takes it if it may, and tells the asker what it has
// to wait for.
func (a *asker) next(out io.Writer, may bool) (it item, wait time.Duration, err error) {
	it, wait, held := a.sp.next(a, time.Now(), a.s.slots.load(), may)
	for _, number := range held {
		if err := a.head(out, tellHeld, 0, number); err != nil {
			return it, wait, err
		}
	}
	return it, wait, nil
}

// linger waits until the asker, who got a no, ends its side, so that the answer is
// not lost by a reset.
func (a *asker) linger(ctx context.Context) error {
	timer := time.NewTimer(writeStall)
	defer timer.Stop()
	for !a.over() {
		select {
		case <-a.wake:
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
	return nil
}

func (a *asker) over() bool {
	a.sp.mu.Lock()
	defer a.sp.mu.Unlock()
	return a.ended
}

func (a *asker) head(out io.Writer, kind byte, n int, number uint32) error {
	var b [headBytes]byte
	putHead(&b, kind, n, number)
	_, err := out.Write(b[:])
	if kind != tellBlock && kind != tellGift && kind != tellPacked {
		a.s.control.Add(int64(n) + headBytes)
	}
	return err
}

// frame sends what is no block.
func (a *asker) frame(out io.Writer, kind byte, body []byte) error {
	if len(body) > maxFrame {
		return nil // a node with more links than a frame holds is not told of
	}
	if err := a.head(out, kind, len(body), 0); err != nil {
		return err
	}
	_, err := out.Write(body)
	return err
}

// tell sends what is new: the state, who else asks, what has come.
func (a *asker) tell(out io.Writer) error {
	state, told := a.sp.news(a)
	if state != a.state {
		a.state = state
		if err := a.frame(out, tellState, []byte{byte(state)}); err != nil {
			return err
		}
	}
	if len(told) > 0 {
		if err := a.frame(out, tellPeers, peersBody(told)); err != nil {
			return err
		}
	}
	if state != statePart {
		return nil
	}
	f := a.s.fetching(keyOf(a.root))
	if f == nil {
		return nil
	}
	if fed := f.isFed(); fed != a.fed {
		a.fed = fed
		number := uint32(0)
		if fed {
			number = 1
		}
		if err := a.head(out, tellFed, 0, number); err != nil {
			return err
		}
	}
	for _, body := range f.news(a.knows) {
		if err := a.frame(out, tellHave, body); err != nil {
			return err
		}
	}
	return nil
}

// send sends one block and ends the turn; a slow asker has the slot for a while only.
func (a *asker) send(ctx context.Context, out io.Writer, it item, t *turn) error {
	defer t.end()
	timer := time.AfterFunc(slotTime, t.end)
	defer timer.Stop()
	start := time.Now()
	var broken error
	err := a.s.view(ctx, keyOf(a.root), it.c, func(data []byte) error {
		broken = a.block(out, it, data)
		return broken
	})
	switch {
	case broken != nil:
		return broken
	case ipld.IsNotFound(err) && it.gift:
		return nil
	case ipld.IsNotFound(err):
		return a.head(out, tellNone, 0, it.number)
	case err == nil:
		t.end()
		a.sp.took(time.Since(start))
	}
	return err
}

// block sends the bytes of a block, packed where that is faster.
func (a *asker) block(out io.Writer, it item, data []byte) error {
	kind, body := byte(tellBlock), data
	switch {
	case it.gift:
		kind = tellGift
	case a.pack.worth(len(data)):
		buf, ok := a.s.packs.buffers.Get().(*[]byte)
		if !ok {
			break
		}
		defer a.s.packs.buffers.Put(buf)
		start := time.Now()
		*buf = a.s.packs.pack(data, *buf)
		if a.pack.packed(len(data), len(*buf), time.Since(start)) {
			kind, body = tellPacked, *buf
		}
	}
	start := time.Now()
	if err := a.head(out, kind, len(body), it.number); err != nil {
		return err
	}
	if _, err := out.Write(body); err != nil {
		return err
	}
	a.pack.left(len(body), time.Since(start))
	a.s.sent.add(len(data))
	if kind == tellPacked {
		a.s.packs.saved.add(len(data) - len(body))
	}
	return nil
}

// table is what a node of a DAG links to, and which of it is here.
type table struct {
	key   string
	node  cid.Cid
	links []cid.Cid
	have  bitmap
}
