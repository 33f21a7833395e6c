package car

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ipfs/go-cid"
)

// Reader reads one CAR of version 1 or 2 in order. It belongs to one goroutine.
type Reader struct {
	Version int       // 1 or 2
	Roots   []cid.Cid // as the header has them; there may be none

	r    *bufio.Reader
	off  int64 // bytes that were read
	left int64 // bytes of sections that are still to come; negative: to the end
}

// NewReader reads the header. r is read in pieces of any size, and not beyond
// what Next asks for but for a buffer.
func NewReader(r io.Reader) (*Reader, error) {
	c := &Reader{r: bufio.NewReaderSize(r, 64<<10), left: -1}
	version, roots, err := c.header()
	if err != nil {
		return nil, err
	}
	c.Version, c.Roots = int(min(version, 3)), roots
	switch version {
	case 1:
		return c, nil
	case 2:
		return c, c.unwrap()
	}
	return nil, fmt.Errorf("%w: version %d, neither 1 nor 2", ErrMalformed, version)
}

// header reads the frame of a header.
func (c *Reader) header() (version uint64, roots []cid.Cid, err error) {
	n, err := c.varint()
	if errors.Is(err, io.EOF) {
		return 0, nil, fmt.Errorf("%w: it is empty", ErrMalformed)
	}
	if err != nil {
		return 0, nil, err
	}
	if n == 0 || n > maxHeader {
		return 0, nil, fmt.Errorf("%w: a header of %d bytes: it is no CAR, or has too many roots", ErrMalformed, n)
	}
	b, err := c.take(n)
	if err != nil {
		return 0, nil, err
	}
	return parseHeader(b)
}

// unwrap reads the header of version 2 and the one of version 1 inside.
func (c *Reader) unwrap() error {
	if c.off != int64(len(pragma)) {
		return fmt.Errorf("%w: version 2 begins with %d bytes, not %d", ErrMalformed, c.off, len(pragma))
	}
	b, err := c.take(headerSize)
	if err != nil {
		return err
	}
	off, size := binary.LittleEndian.Uint64(b[16:]), binary.LittleEndian.Uint64(b[24:])
	if off < uint64(wrapSize) || off > 1<<62 || size == 0 || size > 1<<62 {
		return fmt.Errorf("%w: version 2 with its data at %d, %d bytes of it", ErrMalformed, off, size)
	}
	n, err := io.CopyN(io.Discard, c.r, int64(off)-c.off)
	if c.off += n; err != nil {
		return c.ended(err)
	}
	c.left = int64(size)
	version, roots, err := c.header()
	if err != nil {
		return err
	}
	if version != 1 {
		return fmt.Errorf("%w: version %d inside version 2", ErrMalformed, version)
	}
	c.Roots = roots
	return nil
}

// Next returns the next block: a CID, and bytes of the caller's own that were not
// compared with it. io.EOF after the last one. What follows the data of version 2,
// an index, is read and thrown away first, so that who sends it can end in peace.
func (c *Reader) Next() (cid.Cid, []byte, error) {
	begin := c.off
	n, err := c.varint()
	if errors.Is(err, io.EOF) {
		if c.Version == 2 {
			_, err = io.Copy(io.Discard, c.r)
			if err != nil {
				return cid.Undef, nil, err
			}
		}
		return cid.Undef, nil, io.EOF
	}
	if err != nil {
		return cid.Undef, nil, err
	}
	if n == 0 {
		return cid.Undef, nil, fmt.Errorf("%w: section of no bytes at byte %d", ErrMalformed, begin)
	}
	if n > maxSection {
		return cid.Undef, nil, fmt.Errorf("%w: section of %d bytes at byte %d, more than a block has", ErrMalformed, n, begin)
	}
	b, err := c.take(n)
	if err != nil {
		return cid.Undef, nil, err
	}
	m, id, err := cid.CidFromBytes(b)
	if err != nil {
		return cid.Undef, nil, fmt.Errorf("%w: section at byte %d: %w", ErrMalformed, begin, err)
	}
	return id, b[m:], nil
}

// Offset returns how many bytes were read.
func (c *Reader) Offset() int64 { return c.off }

// varint reads a number. io.EOF when there is nothing at all.
func (c *Reader) varint() (n uint64, err error) {
	begin := c.off
	if c.left == 0 {
		return 0, io.EOF
	}
	for shift := 0; shift < 63; shift += 7 {
		if c.left == 0 {
			return 0, c.ended(io.ErrUnexpectedEOF)
		}
		b, err := c.r.ReadByte()
		if errors.Is(err, io.EOF) && shift == 0 && c.left < 0 {
			return 0, io.EOF
		}
		if err != nil {
			return 0, c.ended(err)
		}
		c.count(1)
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return n, nil
		}
	}
	return 0, fmt.Errorf("%w: length at byte %d: it is longer than 9 bytes", ErrMalformed, begin)
}

// take reads n bytes, which are within a limit.
func (c *Reader) take(n uint64) ([]byte, error) {
	if c.left >= 0 && n > uint64(c.left) {
		return nil, fmt.Errorf("%w: section of %d bytes at byte %d goes beyond the data of version 2", ErrMalformed, n, c.off)
	}
	b := make([]byte, n)
	m, err := io.ReadFull(c.r, b)
	c.count(int64(m))
	if err != nil {
		return nil, c.ended(err)
	}
	return b, nil
}

// count counts bytes that were read.
func (c *Reader) count(n int64) {
	c.off += n
	if c.left >= 0 {
		c.left -= n
	}
}

// ended returns the error for a CAR that ends within something. Errors of the
// source are handed on.
func (c *Reader) ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it is cut off at byte %d: %w", ErrMalformed, c.off, io.ErrUnexpectedEOF)
	}
	return err
}
