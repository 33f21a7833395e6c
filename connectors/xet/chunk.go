package xet

import (
	"errors"
	"fmt"
	"io"

	"github.com/pierrec/lz4/v4"
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
	frame  limitedReader
	lz4    *lz4.Reader
}

// limitedReader reads what is left of a chunk's stored bytes.
type limitedReader struct{ left []byte }

// Read reads on.
func (r *limitedReader) Read(p []byte) (int, error) {
	if len(r.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
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
	if err := c.unpack(size); err != nil {
		return nil, err
	}
	if h[4] == schemeGroupedLZ4 {
		c.spare = grow(c.spare, size)
		ungroup(c.spare, c.plain)
		c.plain, c.spare = c.spare, c.plain
	}
	return c.plain, nil
}

// unpack decodes the LZ4 frame of a chunk, which must be size bytes.
func (c *chunks) unpack(size int) error {
	c.frame.left = c.packed
	if c.lz4 == nil {
		c.lz4 = lz4.NewReader(&c.frame)
	} else {
		c.lz4.Reset(&c.frame)
	}
	c.plain = grow(c.plain, size)
	if _, err := io.ReadFull(c.lz4, c.plain); err != nil {
		return fmt.Errorf("%w: LZ4: %w", errMalformed, inside(err))
	}
	var more [1]byte
	if n, err := c.lz4.Read(more[:]); n > 0 || !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: LZ4: more than %d bytes", errMalformed, size)
	}
	return nil
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
