package crew

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/libp2p/go-libp2p/core/protocol"
)

// ID names the protocol and its version.
const ID = protocol.ID("/hypha/crew/1")

// A stream begins with a head: one byte that says what it is for, the sha256 of the
// content, and two numbers of eight bytes; all numbers are big endian.
//
//	meet  size of the content, 0     the asker fetches it
//	read  offset, count of bytes     the asker wants them
//
// A meet is answered with one byte: 1 if the answerer fetches it, too, else 0 and the
// end. After a 1 the asker sends notes until it leaves; the answerer tells of itself on
// a stream of its own. A note is one byte that says what it is and two numbers of four
// bytes.
//
//	claim   first range, count   the member will have them from the origin
//	have    first range, count   it has them from there
//	drop    first range, count   it will not
//	at      range, 0             all before it were taken in
//	no      0, 0                 it asks its origin for no more ranges
//	whole   0, 0                 it has verified all, and sends any range from now on
//	count   number, 0            it has told all its claims up to that number
//	heard   number, 0            it has heard the asker's count
//
// A read is answered with pieces: a length of four bytes and so many bytes of content.
// A piece of no bytes says that more will come. A stream that ends early was refused.
const (
	kindMeet = iota + 1
	kindRead
)

// What a note says.
const (
	noteClaim = iota + 1
	noteHave
	noteDrop
	noteAt
	noteNo
	noteWhole
	noteCount
	noteHeard
)

const (
	headBytes = 1 + sha256.Size + 8 + 8
	noteBytes = 1 + 4 + 4
	maxPiece  = 32 << 10 // bytes; larger ones are slower over QUIC (bitswap/swarm)
)

// errWire says that a peer sent what it must not.
var errWire = errors.New("malformed message")

// head is how a stream begins.
type head struct {
	kind byte
	sum  [sha256.Size]byte
	a, b int64
}

func (h head) encode() []byte {
	b := make([]byte, 0, headBytes)
	b = append(append(b, h.kind), h.sum[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(h.a)) //nolint:gosec // not negative
	return binary.BigEndian.AppendUint64(b, uint64(h.b))
}

func readHead(r io.Reader) (h head, err error) {
	var b [headBytes]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return h, err
	}
	h.kind, h.sum = b[0], [sha256.Size]byte(b[1:])
	h.a, h.b = int64(binary.BigEndian.Uint64(b[1+sha256.Size:])), int64(binary.BigEndian.Uint64(b[9+sha256.Size:])) //nolint:gosec // what wraps is negative
	switch {
	case h.a < 0 || h.b < 0 || h.a > maxSize || h.b > maxSize:
		return h, fmt.Errorf("numbers %d and %d: %w", h.a, h.b, errWire)
	case h.kind != kindMeet && h.kind != kindRead:
		return h, fmt.Errorf("kind %d: %w", h.kind, errWire)
	}
	return h, nil
}

// note is what a member tells of itself.
type note struct {
	kind     byte
	first, n int
}

func (n note) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(append(b, n.kind), uint32(n.first)) //nolint:gosec // at most maxRanges
	return binary.BigEndian.AppendUint32(b, uint32(n.n))                  //nolint:gosec // likewise
}

// readNote reads a note about a content of count ranges; io.EOF at the proper end.
func readNote(r io.Reader, count int) (n note, err error) {
	var b [noteBytes]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return n, err
	}
	n = note{b[0], int(binary.BigEndian.Uint32(b[1:])), int(binary.BigEndian.Uint32(b[5:]))}
	counts := (n.kind == noteCount || n.kind == noteHeard) && n.n == 0
	if n.kind < noteClaim || n.kind > noteHeard || !counts && (n.first > count || n.n > count-n.first) {
		return n, fmt.Errorf("note %+v of %d ranges: %w", n, count, errWire)
	}
	return n, nil
}

// readPiece reads the next piece into buf, which it must not overflow, and returns its
// length.
func readPiece(r io.Reader, buf []byte) (int, error) {
	var b [4]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, err
	}
	n := binary.BigEndian.Uint32(b[:])
	if n > maxPiece || int64(n) > int64(len(buf)) {
		return 0, fmt.Errorf("piece of %d bytes, %d lack: %w", n, len(buf), errWire)
	}
	return io.ReadFull(r, buf[:n])
}
