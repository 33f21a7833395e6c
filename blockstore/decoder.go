package blockstore

import (
	"encoding/binary"
	"math"

	"github.com/ipfs/go-cid"
)

// decoder takes values off the front of b. After an error it yields zeros, so
// that a sequence of calls needs one check at its end.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail() {
	d.err, d.b = errValue, nil
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || d.err != nil {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 || d.err != nil {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

// size is an offset or a length: not negative as an int64, and small enough that
// the sum of two of them is not either.
func (d *decoder) size() int64 {
	v := d.uvarint()
	if v > math.MaxInt64/2 {
		d.fail()
		return 0
	}
	return int64(v)
}

// bytes takes n bytes; they are part of the input.
func (d *decoder) bytes(n int) []byte {
	if d.err != nil || n < 0 || n > len(d.b) {
		d.fail()
		return nil
	}
	out := d.b[:n:n]
	d.b = d.b[n:]
	return out
}

// block takes a length and as many bytes.
func (d *decoder) block() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	return d.bytes(int(n))
}

// cid takes a length and a CID of exactly that length.
func (d *decoder) cid() cid.Cid {
	raw := d.block()
	if d.err != nil {
		return cid.Undef
	}
	n, c, err := cid.CidFromBytes(raw)
	if err != nil || n != len(raw) {
		d.fail()
		return cid.Undef
	}
	return c
}

// finish tells whether all went well and nothing is left.
func (d *decoder) finish() error {
	if d.err == nil && len(d.b) > 0 {
		d.fail()
	}
	return d.err
}

// count takes a number of items, each of which has at least least bytes.
func (d *decoder) count(least int) int {
	n := d.uvarint()
	if n > uint64(len(d.b)/least) {
		d.fail()
		return 0
	}
	return int(n)
}
