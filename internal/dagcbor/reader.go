package dagcbor

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"
)

// Kind is what an item is.
type Kind uint8

// The kinds of items; https://ipld.io/specs/codecs/dag-cbor/spec/
const (
	Uint  Kind = iota // N is the number
	Nint              // N is -1 minus the number
	Bytes             // Data
	Text              // Data
	Array             // N items follow
	Map               // N pairs of items follow
	Link              // CID
	Other             // false, true, null or a float
)

// maxDepth bounds how deep items are nested.
const maxDepth = 1024

// linkTag is the tag of a CID, whose bytes begin with a zero.
const linkTag = 42

// ErrMalformed says that bytes are no DAG-CBOR.
var ErrMalformed = errors.New("malformed DAG-CBOR")

// Item is one item: of an array or a map its head alone.
type Item struct {
	Kind Kind
	N    uint64
	Data []byte // of Bytes and Text, a part of the input
	CID  cid.Cid
}

// Reader reads items in order. It belongs to one goroutine.
type Reader struct {
	b    []byte
	open []uint64 // items that are still to come, of each array or map around
	done bool
}

// NewReader returns a reader of one block.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// malformed returns an error that wraps ErrMalformed.
func malformed(text string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(text, args...))
}

// Next returns the next item. ok is false after the last one, which has to end
// the block.
func (r *Reader) Next() (it Item, ok bool, err error) {
	for len(r.open) > 0 && r.open[len(r.open)-1] == 0 {
		r.open = r.open[:len(r.open)-1]
		r.done = len(r.open) == 0
	}
	if r.done {
		if len(r.b) > 0 {
			return Item{}, false, malformed("%d bytes behind the end", len(r.b))
		}
		return Item{}, false, nil
	}
	if it, err = r.item(); err != nil {
		return Item{}, false, err
	}
	if n := len(r.open); n > 0 {
		r.open[n-1]--
	}
	below := uint64(0)
	switch it.Kind {
	case Array:
		below = it.N
	case Map:
		below = 2 * it.N
	case Uint, Nint, Bytes, Text, Link, Other:
		r.done = len(r.open) == 0
		return it, true, nil
	}
	// Each item has a byte at least.
	if below > uint64(len(r.b)) || it.N > uint64(len(r.b)) {
		return Item{}, false, malformed("%d items in %d bytes", below, len(r.b))
	}
	if len(r.open) == maxDepth {
		return Item{}, false, malformed("nested deeper than %d", maxDepth)
	}
	r.open = append(r.open, below)
	return it, true, nil
}

// item reads one item.
func (r *Reader) item() (Item, error) {
	major, low, n, err := r.head()
	if err != nil {
		return Item{}, err
	}
	switch major {
	case 0, 1:
		return Item{Kind: Kind(major), N: n}, nil
	case 2, 3:
		data, err := r.take(n)
		return Item{Kind: Kind(major), Data: data}, err
	case 4, 5:
		return Item{Kind: Kind(major), N: n}, nil
	case 6:
		if n != linkTag {
			return Item{}, malformed("tag %d", n)
		}
		return r.link()
	}
	// 20, 21, 22: false, true, null; 25 to 27: floats.
	if low < 20 || low == 23 || low == 24 {
		return Item{}, malformed("simple value %d", low)
	}
	return Item{Kind: Other}, nil
}

// head reads the head of an item: its major type, the low bits and the number.
func (r *Reader) head() (major, low byte, n uint64, err error) {
	first, err := r.take(1)
	if err != nil {
		return 0, 0, 0, err
	}
	major, low = first[0]>>5, first[0]&31
	switch {
	case low < 24:
		return major, low, uint64(low), nil
	case low > 27:
		return 0, 0, 0, malformed("indefinite length")
	}
	tail, err := r.take(1 << (low - 24))
	if err != nil {
		return 0, 0, 0, err
	}
	var wide [8]byte
	copy(wide[8-len(tail):], tail)
	return major, low, binary.BigEndian.Uint64(wide[:]), nil
}

// link reads the CID behind a tag.
func (r *Reader) link() (Item, error) {
	major, _, n, err := r.head()
	if err != nil {
		return Item{}, err
	}
	if major != 2 {
		return Item{}, malformed("a link that is no bytes")
	}
	data, err := r.take(n)
	if err != nil {
		return Item{}, err
	}
	if len(data) == 0 || data[0] != 0 {
		return Item{}, malformed("a link without its zero")
	}
	c, err := cid.Cast(data[1:])
	if err != nil {
		return Item{}, malformed("a link: %v", err)
	}
	return Item{Kind: Link, CID: c}, nil
}

// take takes n bytes.
func (r *Reader) take(n uint64) ([]byte, error) {
	if n > uint64(len(r.b)) {
		return nil, malformed("it ends early")
	}
	data := r.b[:n:n]
	r.b = r.b[n:]
	return data, nil
}

// Links returns the CIDs that a block links to, in order, once per link.
func Links(b []byte) ([]cid.Cid, error) {
	var links []cid.Cid
	for r := NewReader(b); ; {
		it, ok, err := r.Next()
		if err != nil || !ok {
			return links, err
		}
		if it.Kind == Link {
			links = append(links, it.CID)
		}
	}
}

// AppendHead appends the head of an item of a kind; n is its number, its length
// in bytes or its number of items. A Link's n is the length of the CID.
func AppendHead(b []byte, k Kind, n uint64) []byte {
	if k == Link {
		return append(AppendHead(append(b, 6<<5|24, linkTag), Bytes, n+1), 0)
	}
	major := byte(k) << 5
	switch {
	case n < 24:
		return append(b, major|byte(n))
	case n < 1<<8:
		return append(b, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, major|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}
