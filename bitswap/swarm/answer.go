package swarm

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// write tells and sends until the asker has ended its side and has everything.
func (a *asker) write(ctx context.Context) error {
	out := newPieces(a.st)
	defer out.release()
	timer := time.NewTimer(busyTell)
	defer timer.Stop()
	var busy time.Time // when the asker was told so
	for {
		if err := a.tell(out); err != nil {
			return err
		}
		if a.state == stateNone {
			return errors.Join(out.Flush(), a.st.CloseWrite(), a.linger(ctx))
		}
		it, wait, held := a.sp.next(a, time.Now(), float64(len(a.s.slots))/float64(cap(a.s.slots)))
		for _, number := range held {
			if err := a.head(out, tellHeld, 0, number); err != nil {
				return err
			}
		}
		if wait < 0 {
			if err := a.send(ctx, out, it); err != nil {
				return err
			}
			continue
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
		if idle {
			wait = askerSilence
		}
		timer.Reset(wait)
		select {
		case <-a.wake:
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
	for _, body := range f.news(a.knows) {
		if err := a.frame(out, tellHave, body); err != nil {
			return err
		}
	}
	return nil
}

// send sends one block, in one of the slots; a slow asker has it for a while only.
func (a *asker) send(ctx context.Context, out io.Writer, it item) error {
	select {
	case a.s.slots <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	free := sync.OnceFunc(func() { <-a.s.slots })
	defer free()
	timer := time.AfterFunc(slotTime, free)
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
		free()
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
