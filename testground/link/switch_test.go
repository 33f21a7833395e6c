package link

import (
	"io"
	"net/netip"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// device is a port's device whose packets are a test's.
type device struct {
	out  chan []byte // what the host behind it sends
	in   chan []byte // what comes to it
	once sync.Once
	gone chan struct{}
}

func newDevice() *device {
	return &device{out: make(chan []byte), in: make(chan []byte, 1000), gone: make(chan struct{})}
}

func (d *device) Read(b []byte) (int, error) {
	select {
	case p := <-d.out:
		return copy(b, p), nil
	case <-d.gone:
		return 0, os.ErrClosed
	}
}

func (d *device) Write(b []byte) (int, error) {
	d.in <- append([]byte(nil), b...)
	return len(b), nil
}

func (d *device) Close() error {
	d.once.Do(func() { close(d.gone) })
	return nil
}

var _ io.ReadWriteCloser = (*device)(nil)

// packet is an IPv4 packet of n bytes.
func packet(to netip.Addr, n int) []byte {
	p := make([]byte, n)
	p[0] = 0x45
	raw := to.As4()
	copy(p[16:], raw[:])
	return p
}

// pair runs a switch with two ports in virtual time.
func pair(t *testing.T, shape Shape, f func(a, b *device, to netip.Addr)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		first, second := netip.MustParseAddr("16.0.0.1"), netip.MustParseAddr("16.0.0.2")
		a, b, s, done := newDevice(), newDevice(), New(), make(chan struct{})
		for addr, d := range map[netip.Addr]*device{first: a, second: b} {
			if err := s.Add(addr, d, shape); err != nil {
				t.Fatal(err)
			}
		}
		ended := make(chan error)
		go func() { ended <- s.Run(done) }()
		f(a, b, second)
		close(done)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestDelay(t *testing.T) {
	pair(t, Shape{Delay: 10 * time.Millisecond}, func(a, b *device, to netip.Addr) {
		start := time.Now()
		a.out <- packet(to, 100)
		if got := <-b.in; len(got) != 100 {
			t.Errorf("%d bytes came", len(got))
		}
		if took := time.Since(start); took != 10*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}

// TestRate sends a second's worth of packets at once over a link whose queue is
// as deep as that.
func TestRate(t *testing.T) {
	const size, count = 1250, 100 // 10,000 bits each: at 1 Mbit/s 10 ms
	pair(t, Shape{Up: 1e6, Down: 1e6, Delay: time.Millisecond}, func(a, b *device, to netip.Addr) {
		start := time.Now()
		for range count {
			a.out <- packet(to, size)
		}
		for range count {
			<-b.in
		}
		// The receiver's link takes each packet once it has wholly arrived.
		if took, want := time.Since(start), (count+1)*10*time.Millisecond+time.Millisecond; took != want {
			t.Errorf("it took %v, want %v", took, want)
		}
	})
}

// TestLate holds that a link is as fast as it is when what writes its packets is late:
// timers of a busy machine are.
func TestLate(t *testing.T) {
	const size, count = 1250, 100
	pair(t, Shape{Up: 1e6, Down: 1e6, Delay: time.Millisecond}, func(a, b *device, to netip.Addr) {
		b.in = make(chan []byte) // each packet waits for who takes it
		start := time.Now()
		for range count {
			a.out <- packet(to, size)
		}
		<-time.After(count / 2 * 10 * time.Millisecond)
		for range count {
			<-b.in
		}
		if took, want := time.Since(start), (count+1)*10*time.Millisecond+time.Millisecond; took != want {
			t.Errorf("it took %v, want %v", took, want)
		}
	})
}

func TestDrops(t *testing.T) {
	const size, count = 1250, 900 // 9 s in the queue
	pair(t, Shape{Up: 1e6}, func(a, b *device, to netip.Addr) {
		for range count {
			a.out <- packet(to, size)
		}
		<-time.After(time.Minute)
		if n := len(b.in); n*size > minQueue+2*size || n*size < minQueue {
			t.Errorf("%d bytes of %d came through a queue of %d", n*size, count*size, minQueue)
		}
	})
}

func TestLoss(t *testing.T) {
	const count = 900
	pair(t, Shape{Loss: 0.5}, func(a, b *device, to netip.Addr) {
		for range count {
			a.out <- packet(to, 100)
		}
		<-time.After(time.Minute)
		if n := len(b.in); n < count/3 || n > count*2/3 { // the noise is the same in every run
			t.Errorf("%d of %d packets came", n, count)
		}
	})
}

func TestStrangers(t *testing.T) {
	pair(t, Shape{}, func(a, b *device, to netip.Addr) {
		a.out <- packet(netip.MustParseAddr("16.0.0.9"), 100) // nobody's
		a.out <- []byte{0x45}                                 // torn
		a.out <- make([]byte, 40)                             // not IPv4
		a.out <- packet(to, 60)
		if got := <-b.in; len(got) != 60 {
			t.Errorf("%d bytes came", len(got))
		}
	})
}

func FuzzDestination(f *testing.F) {
	f.Add([]byte{0x45})
	f.Add(packet(netip.MustParseAddr("16.0.0.1"), 20))
	f.Fuzz(func(t *testing.T, p []byte) {
		if a := destination(p); a.IsValid() && !a.Is4() {
			t.Errorf("address %s", a)
		}
	})
}
