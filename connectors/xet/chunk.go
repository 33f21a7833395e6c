package xet

import (
	"errors"
	"fmt"
	"io"
)

// Bounds of a xorb, from xet-core (xorb_object/constants.rs, xorb_chunk_format.rs).
const (
	maxXorb       = 64 << 20  // bytes of a xorb, compressed or not
	maxXorbChunks = 8 << 10   // chunks of a xorb
	maxChunk      = 128 << 10 // bytes of a chunk
	maxPacked     = 2 * maxChunk
	chunkHeader   = 8 // bytes before each chunk
)

// How the bytes of a chunk are stored.
const (
	schemeNone       = 0
	schemeLZ4        = 1 // an LZ4 frame
	schemeGroupedLZ4 = 2 // the bytes of every fourth place together, then an LZ4 frame
)

// errMalformed says that what came is no part of a xorb.
var errMalformed = errors.New("malformed chunk")

// chunks reads the chunks of a part of a xorb. Its memory is that of one chunk.
type chunks struct {
	src    io.Reader
	head   [chunkHeader]byte
	packed []byte
	plain  []byte // the last chunk
	spare  []byte
}

// reset makes the chunks those of another part.
func (c *chunks) reset(src io.Reader) { c.src = src }

// next returns the bytes of the next chunk, which are good until the next call;
// io.EOF where the part ends between two chunks.
func (c *chunks) next() ([]byte, error) {
	if _, err := io.ReadFull(c.src, c.head[:]); err != nil {
		return nil, err
	}
	h := c.head
	packed, size := int(h[1])|int(h[2])<<8|int(h[3])<<16, int(h[5])|int(h[6])<<8|int(h[7])<<16
	switch {
	case h[0] != 0:
		return nil, fmt.Errorf("%w: version %d", errMalformed, h[0])
	case size == 0 || size > maxChunk || packed == 0 || packed > maxPacked:
		return nil, fmt.Errorf("%w: %d bytes in %d", errMalformed, size, packed)
	case h[4] > schemeGroupedLZ4:
		return nil, fmt.Errorf("%w: scheme %d", errMalformed, h[4])
	case h[4] == schemeNone && packed != size:
		return nil, fmt.Errorf("%w: %d bytes that are not compressed in %d", errMalformed, size, packed)
	}
	c.packed = grow(c.packed, packed)
	if _, err := io.ReadFull(c.src, c.packed); err != nil {
		return nil, inside(err)
	}
	if h[4] == schemeNone {
		return c.packed, nil
	}
	c.plain = grow(c.plain, size)
	if err := unframe(c.plain, c.packed); err != nil {
		return nil, err
	}
	if h[4] == schemeGroupedLZ4 {
		c.spare = grow(c.spare, size)
		ungroup(c.spare, c.plain)
		c.plain, c.spare = c.spare, c.plain
	}
	return c.plain, nil
}

// ungroup puts bytes back into their places: src has those of the places 0, 4, 8…
// first, then those of 1, 5, 9… and so on.
func ungroup(dst, src []byte) {
	from := 0
	for first := range 4 {
		for at := first; at < len(dst); at += 4 {
			dst[at] = src[from]
			from++
		}
	}
}

// grow returns a slice of n bytes, b's memory if that is enough.
func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n, max(n, 64<<10))
	}
	return b[:n]
}

// inside makes the end of a source into one that comes too early.
func inside(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
