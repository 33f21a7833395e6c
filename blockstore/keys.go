package blockstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"
)

// Keys of the index begin with one of these bytes.
const (
	keyBlock     = 'b' // multihash                => its places (copies.encode)
	keyFile      = 'f' // codec ‖ multihash        => fileRecord
	keyAlias     = 'a' // alias                    => aliasRecord
	keyDigest    = 'h' // digest of a sha256 alias => the same; empty: the raw block with that digest
	keyPin       = 'p' // CIDv1 of the root ‖ name => encodePin
	keySegment   = 's' // number, big endian       => segmentRecord
	keyGone      = 'g' // number, big endian       => nothing: a segment to remove
	keyRecord    = 'r' // length ‖ bucket ‖ key    => value
	keyDatastore = 'd' // length ‖ prefix ‖ key    => value
	keyPartial   = 'k' // sha256 of a name         => partialRecord
	keyKept      = 'l' // number ‖ offset, both big endian => encodeLeaves: the content of a partial file from there on
	keyUse       = 'u' // number of a segment, big endian, or multihash => use: when it was used last
	keyMeta      = 'm' // name                     => value: "made" says that the index is not a lost one
)

// maxKey is the longest alias, pin name or record key, in bytes. Badger's own
// limit is 65,000.
const maxKey = 32 << 10

var errValue = errors.New("malformed index value")

func blockKey(hash mh.Multihash) []byte {
	k := make([]byte, 0, 1+len(hash))
	return append(append(k, keyBlock), hash...)
}

func fileKey(root cid.Cid) []byte {
	k := append(make([]byte, 0, 48), keyFile)
	k = binary.AppendUvarint(k, root.Type())
	return append(k, root.Hash()...)
}

// rootOfFileKey is the inverse of fileKey; the root comes back as CIDv1.
func rootOfFileKey(key []byte) (cid.Cid, error) {
	if len(key) == 0 || key[0] != keyFile {
		return cid.Undef, fmt.Errorf("file key: %w", errValue)
	}
	codec, n := binary.Uvarint(key[1:])
	if n <= 0 {
		return cid.Undef, fmt.Errorf("file key: %w", errValue)
	}
	hash, err := mh.Cast(key[1+n:])
	if err != nil {
		return cid.Undef, fmt.Errorf("file key: %w", err)
	}
	root := cid.NewCidV1(codec, append(mh.Multihash{}, hash...))
	if !bytes.Equal(fileKey(root), key) { // a varint in more bytes than it needs: none of our keys
		return cid.Undef, fmt.Errorf("file key: %w", errValue)
	}
	return root, nil
}

func aliasKey(key string) []byte {
	if raw, ok := rawOfAlias(key); ok && key == digestAlias(raw) {
		return append([]byte{keyDigest}, raw.Hash()[2:]...)
	}
	return append([]byte{keyAlias}, key...)
}

// digestAlias is the alias of a raw sha2-256 block.
func digestAlias(c cid.Cid) string { return sha256Alias + hex.EncodeToString(c.Hash()[2:]) }

// setAlias adds an alias to a batch, unless the one that is known was set later
// (at is in nanoseconds since 1970). One that its root's CID says is kept short,
// for there may be one for every small file.
func (b *batch) setAlias(key string, a Alias, at int64) error {
	k := aliasKey(key)
	known, err := aliasIn(b, k)
	if err == nil && strings.HasPrefix(key, scopeAlias) {
		if a, err = mergeScopes(key, known.Alias, a); err != nil {
			return err
		}
		at = max(at, known.at)
	} else if err == nil && known.at > at {
		return nil
	}
	if err != nil && !errors.Is(err, errAbsent) && !errors.Is(err, errValue) {
		return err
	}
	if raw, ok := rawOfAlias(key); ok && key == digestAlias(raw) && raw == a.Root && len(a.Meta) == 0 {
		b.set(k, nil)
		return nil
	}
	b.set(k, aliasRecord{a, at}.encode())
	return nil
}

// aliasRecord is what the index knows of an alias.
type aliasRecord struct {
	Alias
	at int64 // when it was set, in nanoseconds since 1970
}

func (r aliasRecord) encode() []byte {
	return append(binary.AppendVarint(make([]byte, 0, 64+len(r.Meta)), r.at), encodeAlias(r.Alias)...)
}

// decodeAliasRecord decodes the index's pair of an alias.
func decodeAliasRecord(key, value []byte) (r aliasRecord, err error) {
	if len(value) > 0 {
		d := decoder{b: value}
		if r.at, err = d.varint(), d.err; err == nil {
			r.Alias, err = decodeAlias(d.b)
		}
		return r, err
	}
	if len(key) != 1+sha256.Size || key[0] != keyDigest {
		return r, fmt.Errorf("alias: %w", errValue)
	}
	hash, err := mh.Encode(key[1:], mh.SHA2_256)
	r.Root = cid.NewCidV1(cid.Raw, hash)
	return r, err
}

func aliasIn(g getter, key []byte) (r aliasRecord, err error) {
	err = g.get(key, func(v []byte) (err error) {
		r, err = decodeAliasRecord(key, v)
		return err
	})
	return r, err
}

func pinKey(root cid.Cid, name string) []byte {
	k := append([]byte{keyPin}, asV1(root).Bytes()...)
	return append(k, name...)
}

func segmentKey(id uint64) []byte { return binary.BigEndian.AppendUint64([]byte{keySegment}, id) }

func goneKey(id uint64) []byte { return binary.BigEndian.AppendUint64([]byte{keyGone}, id) }

// segmentOfKey is the inverse of segmentKey and goneKey.
func segmentOfKey(key []byte) (uint64, error) {
	if len(key) != 9 {
		return 0, fmt.Errorf("segment key: %w", errValue)
	}
	return binary.BigEndian.Uint64(key[1:]), nil
}

func bucketKey(kind byte, bucket, key string) []byte {
	k := make([]byte, 0, 8+len(bucket)+len(key))
	k = binary.AppendUvarint(append(k, kind), uint64(len(bucket)))
	return append(append(k, bucket...), key...)
}

func metaKey(name string) []byte { return append([]byte{keyMeta}, name...) }

// extent is where the bytes of a block lie.
type extent struct {
	seg    uint64 // number of the segment
	off    int64  // bytes
	length int64  // bytes
}

func (e extent) end() int64 { return e.off + e.length }

// maxCopies is how many places the index knows of one block at most. A block
// that is in more files than that (zeros, say) is still found in each of them by
// its footer.
const maxCopies = 16

// copies is what the index knows of a block.
type copies struct {
	all     []extent // its places, the one to read first in front
	private bool     // it was never put for everybody: see scope.go
}

// markPrivate ends the places of a private block: no segment has that number.
const markPrivate = 0

// encode encodes the places, and one byte more if the block is private.
func (c copies) encode() []byte {
	b := make([]byte, 0, 5+8*len(c.all))
	if len(c.all) > 0 {
		b = binary.AppendUvarint(b, uint64(c.all[0].length))
	}
	for _, e := range c.all {
		b = binary.AppendUvarint(b, e.seg)
		b = binary.AppendUvarint(b, uint64(e.off))
	}
	if c.private {
		b = append(b, markPrivate)
	}
	return b
}

func decodeCopies(b []byte) (copies, error) {
	d := decoder{b: b}
	length := d.size()
	c := copies{all: make([]extent, 0, 1)}
	for d.err == nil && (len(c.all) == 0 || len(d.b) > 0) {
		if len(c.all) > 0 && len(d.b) == 1 && d.b[0] == markPrivate {
			c.private = true
			break
		}
		e := extent{seg: d.uvarint(), off: d.size(), length: length}
		if e.seg <= 1 || length > maxBlock || len(c.all) == maxCopies {
			d.fail()
		}
		c.all = append(c.all, e)
	}
	if d.err != nil {
		return copies{}, fmt.Errorf("places of a block: %w", errValue)
	}
	return c, nil
}

// withCopy returns the places of a block with one more in front; of places in
// one segment it keeps the new one.
func withCopy(all []extent, e extent) []extent {
	out := append(make([]extent, 0, len(all)+1), e)
	for _, old := range all {
		if old.seg != e.seg && old.length == e.length && len(out) < maxCopies {
			out = append(out, old)
		}
	}
	return out
}

// fileRecord is what the index knows of a file besides its root.
type fileRecord struct {
	size   int64
	sha256 [32]byte
	seg    uint64 // segment that holds the content in one piece, 0: none
	off    int64  // of the content in seg
}

func (r fileRecord) encode() []byte {
	b := binary.AppendUvarint(make([]byte, 0, 48), uint64(r.size))
	b = append(b, r.sha256[:]...)
	b = binary.AppendUvarint(b, r.seg)
	return binary.AppendUvarint(b, uint64(r.off))
}

func decodeFileRecord(b []byte) (fileRecord, error) {
	d := decoder{b: b}
	r := fileRecord{size: d.size()}
	copy(r.sha256[:], d.bytes(32))
	r.seg, r.off = d.uvarint(), d.size()
	if err := d.finish(); err != nil {
		return fileRecord{}, fmt.Errorf("file record: %w", err)
	}
	return r, nil
}

func encodeAlias(a Alias) []byte {
	root := a.Root.Bytes()
	b := binary.AppendUvarint(make([]byte, 0, 2+len(root)+len(a.Meta)), uint64(len(root)))
	return append(append(b, root...), a.Meta...)
}

func decodeAlias(b []byte) (Alias, error) {
	d := decoder{b: b}
	root := d.cid()
	if d.err != nil {
		return Alias{}, fmt.Errorf("alias record: %w", d.err)
	}
	a := Alias{Root: root}
	if len(d.b) > 0 {
		a.Meta = append([]byte{}, d.b...)
	}
	return a, nil
}

// encodePin encodes a pin. One that ends or has an owner has a 0 in the place of
// the length of its root's CID, and then these two; version 2 did not know that.
func encodePin(p Pin) []byte {
	root := p.Root.Bytes()
	b := binary.AppendVarint(make([]byte, 0, 32+len(root)+len(p.Name)+len(p.Owner)), p.Created.UnixNano())
	if !p.Expires.IsZero() || p.Owner != "" {
		ends := int64(0)
		if !p.Expires.IsZero() {
			ends = max(1, p.Expires.UnixNano())
			if p.Expires.After(time.Unix(0, math.MaxInt64)) { // in 2262
				ends = math.MaxInt64
			}
		}
		b = binary.AppendVarint(append(b, 0), ends)
		b = appendBytes(b, []byte(p.Owner))
	}
	b = binary.AppendUvarint(b, uint64(len(root)))
	return append(append(b, root...), p.Name...)
}

func decodePin(b []byte) (Pin, error) {
	d := decoder{b: b}
	p := Pin{Created: time.Unix(0, d.varint())}
	if d.err == nil && len(d.b) > 0 && d.b[0] == 0 {
		d.b = d.b[1:]
		ends := d.varint()
		p.Owner = string(d.block())
		if ends < 0 || len(p.Owner) > MaxOwner || ends == 0 && p.Owner == "" {
			d.fail()
		}
		if ends != 0 {
			p.Expires = time.Unix(0, ends)
		}
		if len(d.b) > 0 && d.b[0] == 0 {
			d.fail()
		}
	}
	if p.Root = d.cid(); d.err != nil {
		return Pin{}, fmt.Errorf("pin record: %w", d.err)
	}
	p.Name = string(d.b)
	return p, nil
}

// segmentRecord is what the index knows of a segment.
type segmentRecord struct {
	kind segmentKind
	// state is segmentOpen for a file segment while the index is still being
	// told of its blocks, segmentWhole afterwards and for packs.
	state segmentState
	size  int64  // bytes of the segment; of a pack: bytes that the index knows
	file  []byte // fileKey of the file in a file segment
}

type (
	segmentKind  byte
	segmentState byte
)

const (
	fileSegment segmentKind = 'f'
	packSegment segmentKind = 'p'

	segmentOpen  segmentState = 'o'
	segmentWhole segmentState = 'w'
)

func (r segmentRecord) encode() []byte {
	b := append(make([]byte, 0, 64), byte(r.kind), byte(r.state))
	b = binary.AppendUvarint(b, uint64(r.size))
	return append(b, r.file...)
}

func decodeSegmentRecord(b []byte) (segmentRecord, error) {
	d := decoder{b: b}
	head := d.bytes(2)
	size := d.size()
	if d.err != nil {
		return segmentRecord{}, fmt.Errorf("segment record: %w", d.err)
	}
	r := segmentRecord{kind: segmentKind(head[0]), state: segmentState(head[1]), size: size}
	if (r.kind != fileSegment && r.kind != packSegment) || (r.state != segmentOpen && r.state != segmentWhole) {
		return segmentRecord{}, fmt.Errorf("segment record: %w", errValue)
	}
	if len(d.b) > 0 {
		r.file = append([]byte{}, d.b...)
	}
	return r, nil
}
