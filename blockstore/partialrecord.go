package blockstore

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/ipfs/go-cid"
)

// partialRecord is what the index knows of a file of which only the beginning is
// here.
type partialRecord struct {
	id    uint64 // number of the part file
	at    int64  // when it was kept last, in nanoseconds since 1970
	size  int64  // bytes of the whole content
	kept  int64  // bytes of content that are durable, from the beginning on
	state []byte // of who writes it
}

func (r partialRecord) encode() []byte {
	b := binary.AppendUvarint(make([]byte, 0, 32+len(r.state)), r.id)
	b = binary.AppendVarint(b, r.at)
	b = binary.AppendUvarint(b, uint64(r.size))
	b = binary.AppendUvarint(b, uint64(r.kept))
	return append(b, r.state...)
}

func decodePartial(b []byte) (partialRecord, error) {
	d := decoder{b: b}
	r := partialRecord{id: d.uvarint(), at: d.varint(), size: d.size(), kept: d.size()}
	if d.err != nil || r.id <= 1 || kindOf(r.id) != fileSegment || r.kept == 0 || r.kept > r.size || len(d.b) > maxState {
		return partialRecord{}, fmt.Errorf("partial record: %w", errValue)
	}
	if len(d.b) > 0 {
		r.state = append([]byte{}, d.b...)
	}
	return r, nil
}

func getPartial(g getter, key []byte) (r partialRecord, err error) {
	err = g.get(key, func(v []byte) (err error) {
		r, err = decodePartial(v)
		return err
	})
	return r, err
}

// partialKey keeps names, which may say what is fetched for whom, to itself.
func partialKey(name string) []byte {
	sum := sha256.Sum256([]byte(name))
	return append([]byte{keyPartial}, sum[:]...)
}

func keptPrefix(id uint64) []byte { return binary.BigEndian.AppendUint64([]byte{keyKept}, id) }

func keptKey(id uint64, off int64) []byte {
	return binary.BigEndian.AppendUint64(keptPrefix(id), uint64(off))
}

// parseKeptKey is the inverse of keptKey.
func parseKeptKey(key []byte) (id uint64, off int64, err error) {
	if len(key) != 17 || key[0] != keyKept || key[9] > 0x3f {
		return 0, 0, fmt.Errorf("key of leaves: %w", errValue)
	}
	return binary.BigEndian.Uint64(key[1:]), int64(binary.BigEndian.Uint64(key[9:])), nil
}

// encodeLeaves encodes leaves that follow each other.
func encodeLeaves(leaves []placedBlock) []byte {
	b := make([]byte, 0, 48*len(leaves))
	for _, l := range leaves {
		raw := l.cid.Bytes()
		b = binary.AppendUvarint(b, uint64(l.length))
		b = binary.AppendUvarint(b, uint64(len(raw)))
		b = append(b, raw...)
	}
	return b
}

// decodeLeaves decodes leaves, at least one, of which the first begins at off.
func decodeLeaves(b []byte, off int64) (leaves []placedBlock, err error) {
	d := decoder{b: b}
	for d.err == nil && (len(d.b) > 0 || len(leaves) == 0) {
		l := placedBlock{off: off, length: d.size(), cid: d.cid()}
		if l.length == 0 || l.length > maxBlock || l.cid == cid.Undef {
			d.fail()
		}
		off += l.length
		leaves = append(leaves, l)
	}
	if d.err != nil {
		return nil, fmt.Errorf("leaves: %w", errValue)
	}
	return leaves, nil
}
