package blockstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// maxMeta is the most an alias may carry besides its root, in bytes.
const maxMeta = 128 << 10

// fact is what a pack says besides blocks; which fields count depends on typ.
type fact struct {
	typ   recordType
	at    int64  // when it was said, in nanoseconds since 1970: the later one holds
	file  File   // recordFile
	key   string // recordAlias
	alias Alias  // recordAlias
	pin   Pin    // recordPin, recordUnpin
	gone  uint64 // recordGone: number of a segment
}

// record encodes the fact as a record of a pack.
func (f fact) record() []byte {
	var b []byte
	switch f.typ {
	case recordFile:
		b = binary.AppendUvarint(make([]byte, 0, 96), uint64(f.file.Size))
		b = appendBytes(append(b, f.file.SHA256[:]...), f.file.Root.Bytes())
	case recordAlias:
		b = append(appendBytes(nil, []byte(f.key)), encodeAlias(f.alias)...)
	case recordPin, recordUnpin:
		b = encodePin(f.pin)
	case recordGone:
		b = binary.AppendUvarint(nil, f.gone)
	}
	b = append(binary.AppendVarint(make([]byte, 0, 10+len(b)), f.at), b...)
	return appendFact(make([]byte, 0, packHeader+len(b)), f.typ, b)
}

// decodeFact decodes the payload of a record.
func decodeFact(typ recordType, payload []byte) (fact, error) {
	d := decoder{b: payload}
	f := fact{typ: typ, at: d.varint()}
	err := d.err
	if err != nil {
		return f, err
	}
	switch typ {
	case recordFile:
		f.file.Size = d.size()
		copy(f.file.SHA256[:], d.bytes(len(f.file.SHA256)))
		f.file.Root = d.cid()
		err = d.finish()
	case recordAlias:
		f.key = string(d.block())
		if err = d.err; err == nil {
			f.alias, err = decodeAlias(d.b)
		}
		if err == nil {
			err = validAlias(f.key, f.alias)
		}
	case recordPin, recordUnpin:
		f.pin, err = decodePin(d.b)
	case recordGone:
		f.gone = d.uvarint()
		err = d.finish()
	default:
		err = fmt.Errorf("record of type %q: %w", byte(typ), errValue)
	}
	return f, err
}

// apply adds to a batch what the fact says, if the root is stored.
func (f fact) apply(b *batch) error {
	switch f.typ {
	case recordFile:
		err := b.recordFile(f.file)
		if isNotFound(err) {
			return nil
		}
		return err
	case recordAlias:
		return b.setAlias(f.key, f.alias, f.at)
	case recordPin:
		b.set(pinKey(f.pin.Root, f.pin.Name), encodePin(f.pin))
	case recordUnpin:
		b.delete(pinKey(f.pin.Root, f.pin.Name))
	}
	return nil
}

// holds tells whether the index still says what the fact says, so that a rebuild
// needs it.
func (f fact) holds(d *Disk) (bool, error) {
	var key, value []byte
	switch f.typ {
	case recordFile:
		rec, err := getFile(d.index, fileKey(f.file.Root))
		if errors.Is(err, errAbsent) {
			return false, nil
		}
		return rec.size == f.file.Size && rec.sha256 == f.file.SHA256, err
	case recordAlias:
		if strings.HasPrefix(f.key, scopeAlias) { // what was said of it adds up
			_, err := aliasIn(d.index, aliasKey(f.key))
			return err == nil, ignoreAbsent(err)
		}
		key, value = aliasKey(f.key), aliasRecord{f.alias, f.at}.encode()
	case recordPin:
		key, value = pinKey(f.pin.Root, f.pin.Name), encodePin(f.pin)
	case recordGone:
		_, err := d.segs.fs.Stat(segmentName(f.gone))
		return err == nil, nil
	default: // a rebuild without an unpin pins more, never less
		return false, nil
	}
	same := false
	err := d.index.get(key, func(v []byte) error {
		same = bytes.Equal(v, value)
		return nil
	})
	return same, ignoreAbsent(err)
}

func ignoreAbsent(err error) error {
	if errors.Is(err, errAbsent) {
		return nil
	}
	return err
}
