package swarm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"
)

// What is packed (docs/decisions/0016-packed-blocks.md has the figures).
const (
	packZstd    = 1        // the only way to pack so far
	packLeast   = 4 << 10  // bytes; a smaller block is sent as it is
	packAfter   = 2 << 20  // bytes that a stream has sent, before it is known how fast they leave
	packSaves   = 8        // a block that is not smaller by one in so many is sent as it is
	packSpeed   = 2.0      // a block has to leave so many times slower than it is packed
	packFirst   = 16       // blocks that are sent as they are after one that did not get smaller
	packMost    = 4096     // the same, after many
	packSmooth  = 0.2      // of a measurement in what is known
	packLength  = 4        // bytes of the length in front of what is packed
	maxUnpacked = maxBlock // bytes
)

// errPacked says that what was packed is not what it says.
var errPacked = errors.New("malformed packed block")

// packPolicy says when packing begins.
type packPolicy struct {
	after int     // packAfter
	speed float64 // packSpeed
}

// packs packs and unpacks for all streams.
type packs struct {
	policy  packPolicy
	enc     *zstd.Encoder
	dec     *zstd.Decoder
	buffers sync.Pool // of *[]byte
	saved   tally     // bytes that did not go out, and the blocks that were packed
	spared  tally     // the same of what came
}

func newPacks() (p *packs, err error) {
	p = &packs{policy: packPolicy{packAfter, packSpeed}, buffers: sync.Pool{New: func() any { return new([]byte) }}}
	if p.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(uploadSlots),
		zstd.WithWindowSize(1<<20), zstd.WithEncoderCRC(false), zstd.WithLowerEncoderMem(true),
		zstd.WithAllLitEntropyCompression(true)); err != nil {
		return nil, err
	}
	p.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxUnpacked), zstd.WithDecoderMaxWindow(maxUnpacked))
	return p, err
}

// close ends what the libraries run.
func (p *packs) close() error {
	p.dec.Close()
	return p.enc.Close()
}

// pack returns the body of a packed block in buf, which grows as needed.
func (p *packs) pack(data, buf []byte) []byte {
	return p.enc.EncodeAll(data, binary.BigEndian.AppendUint32(buf[:0], uint32(len(data))))
}

// unpack returns the bytes of a packed block: never more than a block may have, nor
// than it says.
func (p *packs) unpack(body []byte) ([]byte, error) {
	if len(body) < packLength {
		return nil, errPacked
	}
	n := binary.BigEndian.Uint32(body)
	if n > maxUnpacked {
		return nil, fmt.Errorf("%d bytes: %w", n, errPacked)
	}
	data, err := p.dec.DecodeAll(body[packLength:], make([]byte, 0, n))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errPacked, err)
	}
	if len(data) != int(n) {
		return nil, fmt.Errorf("%d bytes, not %d: %w", len(data), n, errPacked)
	}
	return data, nil
}

// packing decides what of one stream is packed: nothing until bytes have been seen to
// leave slower than they could be packed, and then what gets smaller. But for wanted it
// is of the writing goroutine.
type packing struct {
	wanted atomic.Bool // the asker unpacks
	policy packPolicy

	sent int     // bytes that have left
	wire float64 // seconds in which a byte leaves, smoothed
	cost float64 // seconds in which a byte is packed, smoothed; 0: not known
	skip int     // blocks that are sent as they are, after those that did not get smaller
	last int     // what skip was set to
}

// left notes that n bytes have left in a time.
func (p *packing) left(n int, d time.Duration) {
	if n < packLeast {
		return
	}
	p.sent += n
	per := d.Seconds() / float64(n)
	if p.wire == 0 {
		p.wire = per
	}
	p.wire += packSmooth * (per - p.wire)
}

// worth tells whether a block of n bytes is to be packed.
func (p *packing) worth(n int) bool {
	if !p.wanted.Load() || n < packLeast || p.sent < p.policy.after {
		return false
	}
	if p.skip > 0 {
		p.skip--
		return false
	}
	return p.cost == 0 || p.wire > p.policy.speed*p.cost
}

// packed notes what packing has come to, and tells whether that is sent.
func (p *packing) packed(n, packed int, d time.Duration) bool {
	per := d.Seconds() / float64(n)
	if p.cost == 0 {
		p.cost = per
	}
	p.cost += packSmooth * (per - p.cost)
	if packed > n-n/packSaves {
		p.last = min(max(packFirst, 2*p.last), packMost)
		p.skip = p.last
		return false
	}
	p.last = 0
	if p.wire <= p.policy.speed*p.cost { // it was tried, and takes too long
		p.skip = packFirst
		return false
	}
	return true
}

// Saved returns how many bytes of blocks did not come over the wire, since peers packed
// them; negative where that made them larger.
func (f *Fetch) Saved() int64 { return f.spared.Load() }
