package httpconn

import (
	"context"
	"time"
)

// Sizes of what is read ahead, in bytes.
const (
	// window is what one content may have in memory: docs/terms.md, window.
	window = 32 << 20
	// chunkSize is the unit in which memory is taken and given back.
	chunkSize = 1 << 20
	// minPart and maxPart bound what one connection asks for at once: enough
	// that the wait for the answer is little of it, little enough that each of
	// several connections has room for two in the window.
	minPart, maxPart = 2 << 20, 8 << 20
)

// part is a range of a content that one connection fetches. It is locked by its
// fan, but for the bytes of its chunks: those before at belong to the reader,
// those behind it to the attempt.
type part struct {
	base   int64    // offset of the first byte
	at     int64    // offset of the next byte to be received
	end    int64    // offset behind the last byte
	chunks [][]byte // chunkSize each, from base on; nil: was read
	seg    *segment // an answer that is open already, positioned at at
	busy   *attempt // who fetches it; nil: nobody
	twin   *part    // the same rest, fetched once more; on the twin itself: the first
	spare  bool     // is a twin
	shared bool     // an attempt that was cut off may still write: no chunk is used again
}

// left returns how many bytes are to be received.
func (p *part) left() int64 { return p.end - p.at }

// room returns where the next bytes go: a piece of one chunk.
func (p *part) room() []byte {
	i := (p.at - p.base) / chunkSize
	b := p.chunks[i][(p.at-p.base)%chunkSize:]
	return b[:min(int64(len(b)), p.left())]
}

// bytes returns what was received from an offset on, up to the end of a chunk.
func (p *part) bytes(off int64) []byte {
	i := (off - p.base) / chunkSize
	b := p.chunks[i][(off-p.base)%chunkSize:]
	return b[:min(int64(len(b)), p.at-off)]
}

// attempt is one answer being read into a part. It is locked by the fan.
type attempt struct {
	by     *worker
	cancel context.CancelCauseFunc
	since  time.Time // of the measurement
	got    int64     // bytes since then
	moved  bool      // it has given a byte
}

// Memory is asked for room before content is read ahead of its reader, and never
// waited for. Methods may be called concurrently.
type Memory interface {
	TryTake(n int64) bool // n bytes, if nobody else waits for them
	Give(n int64)         // back
	Waiting() int64       // how many wait for memory
}

// chunks hands out the memory of one content. It is locked by its fan.
type chunks struct {
	memory Memory // nil: the window alone bounds it
	used   int64  // bytes that were taken, of free ones too
	free   [][]byte
}

// take returns n chunks, or as many as there are.
func (c *chunks) take(n int) [][]byte {
	var out [][]byte
	for len(out) < n {
		if i := len(c.free) - 1; i >= 0 {
			out = append(out, c.free[i])
			c.free = c.free[:i]
			continue
		}
		if c.used+chunkSize > window || c.memory != nil && !c.memory.TryTake(chunkSize) {
			break
		}
		c.used += chunkSize
		out = append(out, make([]byte, chunkSize))
	}
	return out
}

// give takes a chunk back: to be used again, unless somebody waits for memory.
func (c *chunks) give(b []byte) {
	if c.memory != nil && c.memory.Waiting() > 0 {
		c.drop()
		return
	}
	c.free = append(c.free, b)
}

// drop gives the memory of one chunk back that nobody uses again.
func (c *chunks) drop() {
	c.used -= chunkSize
	if c.memory != nil {
		c.memory.Give(chunkSize)
	}
}

// close gives everything back.
func (c *chunks) close() {
	c.free = nil
	for c.used > 0 {
		c.drop()
	}
}

// chunksFor returns how many chunks hold n bytes.
func chunksFor(n int64) int { return int((n + chunkSize - 1) / chunkSize) }
