package blockstore

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/ipfs/go-cid"
)

// A pack is a sequence of records. Integers are little endian.
//
//	offset  bytes
//	0       4      packMagic
//	4       1      recordType
//	5       1      length of the key
//	6       2      0
//	8       4      length of the payload
//	12      4      CRC-32C of bytes 0 to 11, the key, and the payload of a fact
//	16             key: CID of a block, empty for a fact
//	               payload: bytes of the block, or the fact
//
// The payload of a block needs no checksum: its CID is one. That of dead records
// is of no interest, and holes. After damage a scan
// finds the next record by its magic and checksum.
const (
	packMagic     = "HyP\x01"
	packHeader    = 16 // bytes
	maxFact       = 192 << 10
	maxRecordHead = packHeader + 255
)

type recordType byte

const (
	recordBlock   recordType = 'b' // key CID, payload bytes
	recordPrivate recordType = 'B' // the same, of a block that was not put for everybody
	recordFile    recordType = 'f' // fact: File without its place
	recordAlias   recordType = 'a' // fact: key and Alias
	recordPin     recordType = 'p' // fact: Pin
	recordUnpin   recordType = 'u' // fact: Pin that ended
	recordGone    recordType = 'g' // fact: number of a segment that was collected
	recordDead    recordType = 'x' // no key; payload: what is left of collected records
)

func (t recordType) isBlock() bool { return t == recordBlock || t == recordPrivate }

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// appendBlockHead appends the head of a block's record: everything but the payload.
func appendBlockHead(b []byte, c cid.Cid, n int, private bool) []byte {
	t := recordBlock
	if private {
		t = recordPrivate
	}
	return appendHead(b, t, c.Bytes(), n, nil)
}

// appendFact appends a whole record.
func appendFact(b []byte, t recordType, payload []byte) []byte {
	return append(appendHead(b, t, nil, len(payload), payload), payload...)
}

func appendHead(b []byte, t recordType, key []byte, n int, summed []byte) []byte {
	start := len(b)
	b = append(b, packMagic...)
	b = append(b, byte(t), byte(len(key)), 0, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	sum := crc32.Update(0, castagnoli(), b[start:])
	sum = crc32.Update(crc32.Update(sum, castagnoli(), key), castagnoli(), summed)
	b = binary.LittleEndian.AppendUint32(b, sum)
	return append(b, key...)
}

// recordHead is the decoded head of a record.
type recordHead struct {
	typ    recordType
	key    []byte // part of the input
	length int64  // bytes of payload
	sum    uint32
	before uint32 // CRC of all that is summed but the payload
}

func (h recordHead) head() int64 { return packHeader + int64(len(h.key)) }
func (h recordHead) size() int64 { return h.head() + h.length }

// parseHead decodes the head at the front of b. It is whole only if b holds the
// whole key; a fact's checksum can be judged only with its payload (whole).
func parseHead(b []byte) (recordHead, bool) {
	if len(b) < packHeader || string(b[:4]) != packMagic || b[6] != 0 || b[7] != 0 {
		return recordHead{}, false
	}
	n := int(b[5])
	if len(b) < packHeader+n {
		return recordHead{}, false
	}
	h := recordHead{
		typ:    recordType(b[4]),
		key:    b[packHeader : packHeader+n],
		length: int64(binary.LittleEndian.Uint32(b[8:])),
		sum:    binary.LittleEndian.Uint32(b[12:]),
	}
	h.before = crc32.Update(crc32.Update(0, castagnoli(), b[:12]), castagnoli(), h.key)
	switch h.typ {
	case recordBlock, recordPrivate:
		return h, h.length <= maxBlock && n > 0 && h.before == h.sum
	case recordDead:
		return h, n == 0 && h.before == h.sum
	}
	return h, h.length <= maxFact && n == 0
}

// whole tells whether payload is what the fact's checksum was made of.
func (h recordHead) whole(payload []byte) bool {
	return crc32.Update(h.before, castagnoli(), payload) == h.sum
}
