// Package bound knows the least time in which content can be spread, whatever
// the protocol, and judges measured times by it. It is arithmetic and knows
// nothing of nodes.
package bound

import (
	"errors"
	"fmt"
	"math"
)

// Mbit is 10^6 bits: link rates are in bits per second.
const Mbit = 1e6

// Crowd is content that some have and others want at the same moment.
type Crowd struct {
	Size    int64   // bytes
	Leeches int     // who want it, at least 1
	SeedUp  float64 // bits per second that all seeds together can send
	Up      float64 // bits per second that all leeches together can send
	Down    float64 // bits per second that the slowest leech can receive
}

// ErrCrowd says that a crowd makes no sense.
var ErrCrowd = errors.New("bound: not a crowd")

// Least returns, in seconds, the time before which no protocol can have given
// the content to the last leech (Kumar and Ross, Peer-assisted file
// distribution: the minimum distribution time, 2006): the seeds must send each
// byte at least once, the slowest leech must receive each byte, and all senders
// together must send one copy for each leech. The latency of links and the bytes
// of protocols are not in it.
func (c Crowd) Least() (float64, error) {
	for _, rate := range []float64{c.SeedUp, c.Down} {
		if !(rate > 0) || math.IsInf(rate, 0) {
			return 0, fmt.Errorf("%w: rate %v", ErrCrowd, rate)
		}
	}
	if c.Size <= 0 || c.Leeches < 1 || c.Up < 0 || math.IsNaN(c.Up) {
		return 0, fmt.Errorf("%w: %+v", ErrCrowd, c)
	}
	bits := 8 * float64(c.Size)
	return bits * max(1/c.SeedUp, 1/c.Down, float64(c.Leeches)/(c.SeedUp+c.Up)), nil
}

// Equal returns the crowd in which everybody has the same link: up and down in
// bits per second.
func Equal(size int64, seeds, leeches int, up, down float64) Crowd {
	return Crowd{Size: size, Leeches: leeches, SeedUp: up * float64(seeds), Up: up * float64(leeches), Down: down}
}

// ErrMissed says that a bound was missed.
var ErrMissed = errors.New("bound missed")

// Accept returns nil when measured is at most limit times least, both in
// seconds, and an error that wraps ErrMissed when not. A measured time below
// the least one is an error, too: something else was measured.
func Accept(measured, least, limit float64) error {
	switch ratio := measured / least; {
	case math.IsNaN(ratio) || ratio <= 0:
		return fmt.Errorf("%w: measured %v s against %v s", ErrMissed, measured, least)
	case ratio > limit:
		return fmt.Errorf("%w: %.2f s is %.2f times the least time of %.2f s, more than %.2f", ErrMissed, measured, ratio, least, limit)
	case ratio < impossible:
		return fmt.Errorf("%w: %.2f s is less than the least time of %.2f s: not all was transferred, or the links were not shaped", ErrMissed, measured, least)
	}
	return nil
}

// impossible is the ratio under which a time is not believed. Links let some
// packets through at once before they hold to their rate, so it is under 1.
const impossible = 0.95
