package blockstore

import (
	"context"
	"encoding/binary"
	"errors"

	"github.com/ipfs/go-cid"
)

// nodeLinks returns what a dag-pb node links to, or nothing if data is none. The
// store needs it in one case only: when it has lost its index and wants to know
// which blocks are roots.
//
//	PBNode { repeated PBLink Links = 2; optional bytes Data = 1 }
//	PBLink { optional bytes Hash = 1; … }
//
// (https://ipld.io/specs/codecs/dag-pb/spec/)
func nodeLinks(c cid.Cid, data []byte) []cid.Cid {
	if c.Type() != cid.DagProtobuf {
		return nil
	}
	var links []cid.Cid
	for b := data; len(b) > 0; {
		field, value, rest, ok := pbField(b)
		if !ok {
			return nil
		}
		if b = rest; field != 2 {
			continue
		}
		for l := value; len(l) > 0; {
			field, value, rest, ok := pbField(l)
			if !ok {
				return nil
			}
			if l = rest; field != 1 {
				continue
			}
			n, link, err := cid.CidFromBytes(value)
			if err != nil || n != len(value) {
				return nil
			}
			links = append(links, link)
		}
	}
	return links
}

// pbField takes one field off a protobuf message; value is nil unless the field
// is of bytes.
func pbField(b []byte) (field uint64, value, rest []byte, ok bool) {
	tag, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, nil, false
	}
	b = b[n:]
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, nil, false
	}
	b = b[n:]
	switch tag & 7 {
	case 0: // varint
		return tag >> 3, nil, b, true
	case 2: // bytes
		if v > uint64(len(b)) {
			return 0, nil, nil, false
		}
		return tag >> 3, b[:v], b[v:], true
	}
	return 0, nil, nil, false
}

// isWhole tells whether a block is stored and, if deep, all that it links to.
func (d *Disk) isWhole(ctx context.Context, g getter, root cid.Cid, deep bool) (bool, error) {
	seen := make(hashSet)
	for todo := []cid.Cid{root}; len(todo) > 0; {
		c := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if isIdentity(c) || seen.has(c.Hash()) {
			continue
		}
		seen.add(c.Hash())
		known, err := copiesOf(g, c.Hash())
		if errors.Is(err, errAbsent) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if !deep || c.Type() != cid.DagProtobuf {
			continue
		}
		data := make([]byte, known.all[0].length)
		bad, err := d.readExtent(c.Hash(), known.all[0], data)
		if err != nil || bad != "" {
			return false, err
		}
		todo = append(todo, nodeLinks(c, data)...)
		if err := ctx.Err(); err != nil {
			return false, err
		}
	}
	return true, nil
}
