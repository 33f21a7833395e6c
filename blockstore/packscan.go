package blockstore

import (
	"bytes"
	"context"
	"errors"
	"io"

	"github.com/ipfs/go-cid"
)

// packEntry is one record of a pack.
type packEntry struct {
	typ  recordType
	off  int64   // of the record, bytes
	size int64   // of the record, bytes
	cid  cid.Cid // of a block
	at   extent  // of a block's payload
	fact []byte  // payload of a fact; valid until the next entry
	lost int64   // bytes before the record that are none
}

// scanWindow is how many bytes of a pack are read at once.
const scanWindow = 1 << 20

// packScanner reads the records of a pack from byte at up to byte end. What is
// no record is passed over; the next one is found by its magic.
type packScanner struct {
	r    io.ReaderAt
	id   uint64
	at   int64
	end  int64
	base int64 // of buf in the pack
	buf  []byte
}

// peek returns n bytes from off on, or fewer at the end.
func (s *packScanner) peek(off int64, n int) ([]byte, error) {
	n = int(min(int64(n), s.end-off))
	if n <= 0 {
		return nil, nil
	}
	if off < s.base || off+int64(n) > s.base+int64(len(s.buf)) {
		want := min(int64(max(n, scanWindow)), s.end-off)
		if int64(cap(s.buf)) < want {
			s.buf = make([]byte, want)
		}
		s.buf, s.base = s.buf[:want], off
		if m, err := s.r.ReadAt(s.buf, off); err != nil {
			if !errors.Is(err, io.EOF) {
				return nil, err
			}
			s.buf = s.buf[:m]
			s.end = off + int64(m)
		}
	}
	b := s.buf[off-s.base:]
	return b[:min(n, len(b))], nil
}

// next returns the next record, or io.EOF; lost bytes at the end are those
// between the last record and end.
func (s *packScanner) next(ctx context.Context) (packEntry, error) {
	start := s.at
	for {
		if err := ctx.Err(); err != nil {
			return packEntry{}, err
		}
		e, ok, err := s.record()
		if err != nil {
			return packEntry{}, err
		}
		if ok {
			e.lost = e.off - start
			s.at = e.off + e.size
			return e, nil
		}
		if err := s.resync(); err != nil {
			return packEntry{lost: s.at - start}, err
		}
	}
}

// record decodes the record at the scanner's place, if there is one.
func (s *packScanner) record() (packEntry, bool, error) {
	b, err := s.peek(s.at, maxRecordHead)
	if err != nil {
		return packEntry{}, false, err
	}
	h, ok := parseHead(b)
	if !ok || h.size() > s.end-s.at {
		return packEntry{}, false, nil
	}
	e := packEntry{typ: h.typ, off: s.at, size: h.size()}
	switch h.typ {
	case recordBlock, recordPrivate:
		n, c, err := cid.CidFromBytes(h.key)
		if err != nil || n != len(h.key) {
			return packEntry{}, false, nil //nolint:nilerr // it is no record
		}
		e.cid, e.at = c, extent{seg: s.id, off: s.at + h.head(), length: h.length}
		return e, true, nil
	case recordDead:
		return e, true, nil
	}
	head := h.head()
	if b, err = s.peek(s.at, int(h.size())); err != nil || int64(len(b)) < h.size() {
		return packEntry{}, false, err
	}
	e.fact = b[head:]
	return e, h.whole(e.fact), nil
}

// resync moves behind the current byte to the next magic, or returns io.EOF.
func (s *packScanner) resync() error {
	for at := s.at + 1; ; {
		b, err := s.peek(at, scanWindow)
		if err != nil {
			return err
		}
		if len(b) < packHeader {
			s.at = s.end
			return io.EOF
		}
		if i := bytes.Index(b, []byte(packMagic)); i >= 0 {
			s.at = at + int64(i)
			return nil
		}
		at += int64(len(b) - len(packMagic) + 1)
	}
}
