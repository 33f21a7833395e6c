package main

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// piece is how much a link takes at a time, and pieces how many of them it has
// under way in one direction of a connection, at least.
const (
	piece  = 64 << 10 // bytes
	pieces = 64
)

// room returns how many pieces a link has under way: twice what fills it.
func (k *link) room() int {
	if k.all == nil {
		return pieces
	}
	return max(pieces, int(2*k.all.rate*k.delay.Seconds())/piece)
}

// link is a TCP relay on loopback that delays and limits what goes through it, for
// there is no such thing in every kernel.
type link struct {
	Addr string // "127.0.0.1:PORT"

	target string
	delay  time.Duration // one way
	each   float64       // bytes per second of one direction of one connection; 0: no limit
	all    *pace         // of what comes from the target, all connections together; nil: no limit
	stall  atomic.Int64  // one connection goes silent after so many bytes from the target; 0: none does

	listener net.Listener
	cancel   context.CancelFunc
	running  errgroup.Group
}

// shape says what a link does. The zero value relays.
type shape struct {
	delay     time.Duration // one way
	each, all float64       // bytes per second of one connection, and of all together; 0: no limit
}

// pace says when the next bytes may go.
type pace struct {
	mu   sync.Mutex
	rate float64 // bytes per second
	next time.Time
}

// after returns when n bytes that come now have gone.
func (p *pace) after(n int) time.Time {
	now := time.Now()
	if p == nil || p.rate <= 0 {
		return now
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next.Before(now) {
		p.next = now
	}
	p.next = p.next.Add(time.Duration(float64(n) / p.rate * float64(time.Second)))
	return p.next
}

// newLink starts a relay to a target, "host:port"; close ends it.
func newLink(ctx context.Context, target string, s shape) (*link, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	k := &link{Addr: l.Addr().String(), target: target, delay: s.delay, each: s.each, listener: l, cancel: cancel}
	if s.all > 0 {
		k.all = &pace{rate: s.all}
	}
	k.running.Go(func() error {
		for {
			conn, err := l.Accept()
			if err != nil {
				return nil //nolint:nilerr // it was closed
			}
			k.running.Go(func() error {
				k.relay(ctx, conn)
				return nil
			})
		}
	})
	return k, nil
}

// close ends the relay and all its connections.
func (k *link) close() error {
	err := k.listener.Close()
	k.cancel()
	_ = k.running.Wait() //nolint:errcheck // connections may end as they like
	return err
}

// relay serves one connection.
func (k *link) relay(ctx context.Context, client net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server, err := new(net.Dialer).DialContext(ctx, "tcp4", k.target)
	if err != nil {
		_ = client.Close() // it sees that nobody is there
		return
	}
	stop := context.AfterFunc(ctx, func() {
		_ = client.Close() // ends what reads from it
		_ = server.Close() // likewise
	})
	defer stop()
	var both sync.WaitGroup
	// A connection begins with a handshake, which takes one way more, and back.
	both.Go(func() { k.direction(ctx, server, client, 2*k.delay, false) })
	both.Go(func() { k.direction(ctx, client, server, 0, true) })
	both.Wait()
}

// late is what is to be written, when.
type late struct {
	data []byte
	at   time.Time
}

// direction moves bytes one way until they end; extra is what the first ones take
// longer.
func (k *link) direction(ctx context.Context, to, from net.Conn, extra time.Duration, down bool) {
	queue := make(chan late, k.room())
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(queue)
		own, moved := &pace{rate: k.each}, int64(0)
		for {
			buf := make([]byte, piece)
			n, err := from.Read(buf)
			moved += int64(n)
			after := k.stall.Load()
			silent := down && after > 0 && moved >= after && k.stall.CompareAndSwap(after, 0)
			if n > 0 {
				at := own.after(n)
				if down {
					if t := k.all.after(n); t.After(at) {
						at = t
					}
				}
				select {
				case queue <- late{buf[:n], at.Add(k.delay + extra)}:
				case <-ctx.Done():
					return
				}
				extra = 0
			}
			if silent {
				<-ctx.Done()
				return
			}
			if err != nil {
				return
			}
		}
	})
	for l := range queue {
		if !until(ctx, l.at) {
			break
		}
		if _, err := to.Write(l.data); err != nil {
			_ = from.Close() // nobody takes what it sends
			break
		}
	}
	for range queue { // so that the reader does not wait to send
	}
	reader.Wait()
	if c, ok := to.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite() //nolint:errcheck // it may be closed
	}
}

// until waits; false says that ctx ended first.
func until(ctx context.Context, at time.Time) bool {
	wait := time.Until(at)
	if wait <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
