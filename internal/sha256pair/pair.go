package sha256pair

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
)

// shaNI is asked once: CPUID traps in a virtual machine. It never changes.
var shaNI = accelerated()

// Digest is the sha256 of a stream that is taken in leaf by leaf. The zero
// value is not ready: use New. It is not safe for concurrent use.
type Digest struct {
	h      [8]uint32
	length uint64    // bytes taken in by the chain h, a multiple of 64, while tail is nil
	tail   hash.Hash // continues the stream once a leaf was not a multiple of 64 bytes, or without SHA-NI
}

// New returns the digest of an empty stream.
func New() *Digest {
	d := &Digest{h: initial()}
	if !shaNI {
		d.tail = sha256.New()
	}
	return d
}

// Leaf takes p in as the next bytes of the stream and returns the sha256 of p
// alone.
func (d *Digest) Leaf(p []byte) [sha256.Size]byte {
	if d.tail != nil {
		d.tail.Write(p)
		return sha256.Sum256(p)
	}
	leaf := initial()
	whole := len(p) &^ 63
	if whole > 0 {
		blockPair(&d.h, &leaf, p[:whole])
		d.length += uint64(whole)
	}
	rest := p[whole:]
	if len(rest) > 0 {
		d.tail = resume(d.h, d.length)
		d.tail.Write(rest)
	}
	return finish(leaf, uint64(len(p)), rest)
}

// Sum returns the sha256 of everything that was taken in; the digest can go on.
func (d *Digest) Sum() [sha256.Size]byte {
	if d.tail != nil {
		return [sha256.Size]byte(d.tail.Sum(nil))
	}
	return finish(d.h, d.length, nil)
}

// State returns the state of the stream's hash, in the form of crypto/sha256's
// MarshalBinary, whose UnmarshalBinary goes on with it; so does Resume.
func (d *Digest) State() ([]byte, error) {
	h := d.tail
	if h == nil {
		h = resume(d.h, d.length)
	}
	m, ok := h.(encoding.BinaryMarshaler)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return m.MarshalBinary()
}

// Resume returns a digest that goes on after length bytes, at which State
// returned state.
func Resume(state []byte, length int64) (*Digest, error) {
	tail := sha256.New()
	u, ok := tail.(encoding.BinaryUnmarshaler)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	if err := u.UnmarshalBinary(state); err != nil {
		return nil, err
	}
	if n := binary.BigEndian.Uint64(state[len(state)-8:]); length < 0 || n != uint64(length) {
		return nil, fmt.Errorf("state of a hash after %d bytes, want %d", n, length)
	}
	d := &Digest{tail: tail, length: uint64(length)}
	if shaNI {
		d.at(state)
	}
	return d, nil
}

// Sum2 returns the sha256 of p and of q, faster than one after the other when
// they are of like length.
func Sum2(p, q []byte) (sumP, sumQ [sha256.Size]byte) {
	whole := min(len(p), len(q)) &^ 63
	if whole == 0 || !shaNI {
		return sha256.Sum256(p), sha256.Sum256(q)
	}
	hp, hq := initial(), initial()
	blockTwo(&hp, &hq, p[:whole], q[:whole])
	return proceed(hp, uint64(whole), p[whole:]), proceed(hq, uint64(whole), q[whole:])
}

// finish pads the last bytes (rest, fewer than 64) of a message of length bytes
// and returns its hash: FIPS 180-4, section 5.1.1.
func finish(h [8]uint32, length uint64, rest []byte) [sha256.Size]byte {
	return proceed(h, length-uint64(len(rest)), rest)
}

// proceed takes rest in after length bytes, a multiple of 64, and returns the
// hash of all.
func proceed(h [8]uint32, length uint64, rest []byte) [sha256.Size]byte {
	d := resume(h, length)
	d.Write(rest)
	return [sha256.Size]byte(d.Sum(nil))
}

// resume returns crypto/sha256's digest in the state h after length bytes, a
// multiple of 64. The form is the one that its MarshalBinary documents by
// example: magic, state, 64 bytes of buffer, length.
func resume(h [8]uint32, length uint64) hash.Hash {
	state := make([]byte, 0, 108)
	state = append(state, "sha\x03"...)
	for _, w := range h {
		state = binary.BigEndian.AppendUint32(state, w)
	}
	state = append(state, make([]byte, sha256.BlockSize)...)
	state = binary.BigEndian.AppendUint64(state, length)
	d := sha256.New()
	if u, ok := d.(encoding.BinaryUnmarshaler); !ok || u.UnmarshalBinary(state) != nil {
		return nil // can't be: TestResume holds the form against the toolchain in use
	}
	return d
}

// initial returns the initial hash value: FIPS 180-4, section 5.3.3.
func initial() [8]uint32 {
	return [8]uint32{
		0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
		0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
	}
}
