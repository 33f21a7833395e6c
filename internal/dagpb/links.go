package dagpb

import (
	"encoding/binary"

	"github.com/ipfs/go-cid"
)

// Links returns what a dag-pb block c links to, in order, once per link; nothing
// when c is of another codec or data is malformed.
//
//	PBNode { repeated PBLink Links = 2; optional bytes Data = 1 }
//	PBLink { optional bytes Hash = 1; … }
//
// (https://ipld.io/specs/codecs/dag-pb/spec/)
func Links(c cid.Cid, data []byte) []cid.Cid {
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
