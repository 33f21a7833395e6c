package link

import (
	"container/heap"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"sync"
	"time"
)

// Shape is the link of a port.
type Shape struct {
	Up, Down float64       // bits per second; 0: no limit
	Delay    time.Duration // of each packet that the port sends
	Loss     float64       // share of the packets that the port sends and that get lost, 0 to 1
}

// maxPacket is the largest packet in bytes.
const maxPacket = 65535

// queueTime is how long a packet may wait for a link; what would wait longer is
// dropped. It is a usual depth of a router's queue, and never less than
// minQueue bytes.
const (
	queueTime = 100 * time.Millisecond
	minQueue  = 128 << 10
)

// Switch joins ports. Add all before Run.
type Switch struct {
	ports map[netip.Addr]*port
}

// port is one device.
type port struct {
	device io.ReadWriteCloser
	shape  Shape
	noise  *rand.Rand // of the reading goroutine

	upFree time.Time // when the link up has sent what it has; of the reading goroutine

	mu       sync.Mutex
	arriving arrivals
	wake     chan struct{} // room for one
}

// New returns a switch without ports.
func New() *Switch { return &Switch{ports: make(map[netip.Addr]*port)} }

// Add joins a device that has this address. Run closes it.
func (s *Switch) Add(addr netip.Addr, device io.ReadWriteCloser, shape Shape) error {
	if _, ok := s.ports[addr]; ok {
		return fmt.Errorf("two ports with address %s", addr)
	}
	s.ports[addr] = &port{
		device: device, shape: shape, wake: make(chan struct{}, 1),
		noise: rand.New(rand.NewPCG(1, uint64(len(s.ports)))),
	}
	return nil
}

// Run moves packets until done is closed; then it closes all devices.
func (s *Switch) Run(done <-chan struct{}) error {
	var wg sync.WaitGroup
	errs := make(chan error, 2*len(s.ports)+1)
	failed := make(chan struct{}, 1)
	fail := func(err error) {
		if err == nil {
			return
		}
		errs <- err
		select {
		case failed <- struct{}{}:
		default:
		}
	}
	stop := make(chan struct{})
	for _, p := range s.ports {
		wg.Go(func() { fail(s.read(p)) })
		wg.Go(func() { fail(p.write(stop)) })
	}
	select {
	case <-done:
	case <-failed:
	}
	close(stop)
	for _, p := range s.ports {
		if err := p.device.Close(); err != nil {
			errs <- err
		}
	}
	wg.Wait()
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	return errors.Join(all...)
}

// read takes packets from a port's device until it is closed.
func (s *Switch) read(p *port) error {
	buf := make([]byte, maxPacket)
	for {
		n, err := p.device.Read(buf)
		if errors.Is(err, os.ErrClosed) || errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read a packet: %w", err)
		}
		to := s.ports[destination(buf[:n])]
		if to == nil || p.noise.Float64() < p.shape.Loss {
			continue
		}
		now := time.Now()
		leaves, ok := turn(&p.upFree, now, n, p.shape.Up)
		if ok {
			to.arrive(leaves.Add(p.shape.Delay), buf[:n])
		}
	}
}

// destination returns whom an IPv4 packet is for (RFC 791); the zero address when
// it is none.
func destination(packet []byte) netip.Addr {
	if len(packet) < 20 || packet[0]>>4 != 4 {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte(packet[16:20]))
}

// turn returns when a packet of n bytes that comes to a link has gone over it, if the
// link is busy until free, and sets that; false when the queue is full.
func turn(free *time.Time, comes time.Time, n int, rate float64) (time.Time, bool) {
	if rate <= 0 {
		return comes, true
	}
	if free.Before(comes) {
		*free = comes
	}
	waits := free.Sub(comes)
	if waits > queueTime && waits.Seconds()*rate/8 > minQueue {
		return time.Time{}, false
	}
	*free = free.Add(time.Duration(8 * float64(n) / rate * float64(time.Second)))
	return *free, true
}

// arrive puts a packet on its way to the port's link down.
func (p *port) arrive(at time.Time, packet []byte) {
	p.mu.Lock()
	heap.Push(&p.arriving, arrival{at: at, packet: append([]byte(nil), packet...)})
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// next takes the packet that has arrived first, or says how long it takes until
// one does; a minute when none is on its way.
func (p *port) next(now time.Time) (a arrival, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.arriving) == 0 {
		return a, time.Minute
	}
	if wait := p.arriving[0].at.Sub(now); wait > 0 {
		return a, wait
	}
	a, ok := heap.Pop(&p.arriving).(arrival)
	if !ok {
		return a, time.Minute
	}
	return a, 0
}

// write gives packets to the port's device when they have come over its link
// down. A link is not slower for a writer that wakes too late: what counts is when a
// packet arrived, and what is late goes at once.
func (p *port) write(stop <-chan struct{}) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var free time.Time
	sleep := func(d time.Duration, wake <-chan struct{}) bool {
		timer.Reset(d)
		select {
		case <-timer.C:
		case <-wake:
		case <-stop:
			return false
		}
		return true
	}
	for {
		now := time.Now()
		next, wait := p.next(now)
		if next.packet == nil {
			if !sleep(wait, p.wake) {
				return nil
			}
			continue
		}
		through, ok := turn(&free, next.at, len(next.packet), p.shape.Down)
		if !ok {
			continue
		}
		if early := through.Sub(now); early > granularity && !sleep(early, nil) {
			return nil
		}
		if _, err := p.device.Write(next.packet); err != nil {
			if errors.Is(err, os.ErrClosed) {
				return nil
			}
			return fmt.Errorf("write a packet: %w", err)
		}
	}
}

// granularity is how much too early a packet may be: timers are not finer.
const granularity = 200 * time.Microsecond

// arrival is a packet on its way.
type arrival struct {
	at     time.Time
	packet []byte
}

// arrivals is a heap, the earliest first.
type arrivals []arrival

func (a arrivals) Len() int           { return len(a) }
func (a arrivals) Less(i, j int) bool { return a[i].at.Before(a[j].at) }
func (a arrivals) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }

// Push implements heap.Interface.
func (a *arrivals) Push(x any) {
	if one, ok := x.(arrival); ok {
		*a = append(*a, one)
	}
}

// Pop implements heap.Interface.
func (a *arrivals) Pop() any {
	old := *a
	last := old[len(old)-1]
	old[len(old)-1] = arrival{}
	*a = old[:len(old)-1]
	return last
}
