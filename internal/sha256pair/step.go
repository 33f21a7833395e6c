package sha256pair

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
)

// Step is what some bytes of a stream do to the hash of it: whoever is where it
// begins need not hash them again. The zero value is none.
type Step struct {
	from, to [8]uint32
	at, size uint64 // bytes before it, bytes of it
}

// LeafStep is Leaf, and returns what p did to the stream's hash. Where that can't be
// had for the price of p's hash (without SHA-NI, behind a leaf of no multiple of 64
// bytes, or for such a one) there is no step, and the stream does not go on.
func (d *Digest) LeafStep(p []byte) ([sha256.Size]byte, Step) {
	if d.tail != nil || len(p) == 0 || len(p)%sha256.BlockSize != 0 {
		return sha256.Sum256(p), Step{}
	}
	s := Step{from: d.h, at: d.length, size: uint64(len(p))}
	sum := d.Leaf(p)
	s.to = d.h
	return sum, s
}

// Take goes on by a step of so many bytes, if it begins where d is; false if not.
func (d *Digest) Take(s Step, size int) bool {
	if d.tail != nil || s.size == 0 || s.size != uint64(size) || s.at != d.length || s.from != d.h {
		return false
	}
	d.h, d.length = s.to, d.length+s.size
	return true
}

// Add takes p in as the next bytes of the stream, without a hash of its own.
func (d *Digest) Add(p []byte) {
	h := d.tail
	if h == nil {
		h = resume(d.h, d.length)
	}
	h.Write(p)
	d.tail = h
	if m, ok := h.(encoding.BinaryMarshaler); ok && shaNI {
		if state, err := m.MarshalBinary(); err == nil {
			d.at(state)
		}
	}
}

// at goes on from a state of crypto/sha256 without it, at the end of a message block.
func (d *Digest) at(state []byte) {
	const words = len("sha\x03")
	n := binary.BigEndian.Uint64(state[len(state)-8:])
	if n%sha256.BlockSize != 0 {
		return
	}
	for i := range d.h {
		d.h[i] = binary.BigEndian.Uint32(state[words+4*i:])
	}
	d.length, d.tail = n, nil
}
