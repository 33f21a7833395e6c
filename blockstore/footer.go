package blockstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/ipfs/go-cid"
)

// A file segment ends with two copies of the same footer, each followed by a
// trailer, so that no single fault loses it. Integers of the trailer are little
// endian.
//
//	footer   varint time of the commit in nanoseconds since 1970
//	         uvarint size of the content ‖ its sha256 ‖ root
//	         uvarint number of aliases, each: key ‖ root and meta (encodeAlias)
//	         uvarint number of blocks, each: CID ‖ uvarint gap ‖ uvarint length,
//	         in the order of their offsets; gap is what lies between the end of
//	         the block before (0 for the first) and this one
//	trailer  8 trailerMagic ‖ 8 offset of the footer ‖ 8 its length ‖
//	         4 its CRC-32C ‖ 4 CRC-32C of the trailer's 28 bytes before
//
// Keys, roots, CIDs and alias records are preceded by their length.
const (
	trailerMagic  = "HySegm\x01\n"
	trailerLength = 32      // bytes
	trailerSearch = 1 << 20 // bytes at a time in which a trailer is looked for
)

var errFooter = errors.New("no valid footer")

// footer is what a file segment says of itself.
type footer struct {
	at      int64 // nanoseconds since 1970
	file    File
	aliases map[string]Alias
	blocks  []placedBlock // in the order of their offsets
}

// placedBlock is a block and where it lies in its segment.
type placedBlock struct {
	cid    cid.Cid
	off    int64 // bytes
	length int64 // bytes
}

func appendBytes(b, p []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(p))), p...)
}

func (f *footer) encode() []byte {
	b := make([]byte, 0, 256+len(f.blocks)*44)
	b = binary.AppendVarint(b, f.at)
	b = binary.AppendUvarint(b, uint64(f.file.Size))
	b = append(b, f.file.SHA256[:]...)
	b = appendBytes(b, f.file.Root.Bytes())
	b = binary.AppendUvarint(b, uint64(len(f.aliases)))
	for key, a := range f.aliases {
		b = appendBytes(b, []byte(key))
		b = appendBytes(b, encodeAlias(a))
	}
	b = binary.AppendUvarint(b, uint64(len(f.blocks)))
	var end int64
	for _, blk := range f.blocks {
		b = appendBytes(b, blk.cid.Bytes())
		b = binary.AppendVarint(b, blk.off-end)
		b = binary.AppendUvarint(b, uint64(blk.length))
		end = blk.off + blk.length
	}
	return b
}

// decodeFooter decodes a footer whose blocks must lie in the first limit bytes.
func decodeFooter(b []byte, limit int64) (*footer, error) {
	d := decoder{b: b}
	f := &footer{at: d.varint(), aliases: make(map[string]Alias)}
	f.file.Size = d.size()
	copy(f.file.SHA256[:], d.bytes(len(f.file.SHA256)))
	f.file.Root = d.cid()
	for range d.count(3) {
		key := d.block()
		a, err := decodeAlias(d.block())
		if err != nil || d.err != nil {
			return nil, errors.Join(errFooter, err, d.err)
		}
		f.aliases[string(key)] = a
	}
	n := d.count(4)
	f.blocks = make([]placedBlock, 0, n)
	var end int64
	for range n {
		blk := placedBlock{cid: d.cid(), off: end + d.varint(), length: d.size()}
		if d.err != nil || blk.off < 0 || blk.length > maxBlock || blk.off > limit-blk.length {
			return nil, fmt.Errorf("%w: block %d of %d", errFooter, len(f.blocks), n)
		}
		f.blocks = append(f.blocks, blk)
		end = blk.off + blk.length
	}
	if err := d.finish(); err != nil {
		return nil, fmt.Errorf("%w: %w", errFooter, err)
	}
	return f, nil
}

// appendTrailer appends the trailer of a footer that lies at off.
func appendTrailer(b, foot []byte, off int64) []byte {
	start := len(b)
	b = append(b, trailerMagic...)
	b = binary.LittleEndian.AppendUint64(b, uint64(off))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(foot)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(foot, castagnoli()))
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b[start:], castagnoli()))
}

// trailer is a decoded trailer.
type trailer struct {
	off, length int64
	sum         uint32
}

// parseTrailer decodes the trailer at the front of b, which lies at byte at of
// its segment.
func parseTrailer(b []byte, at int64) (trailer, bool) {
	if len(b) < trailerLength || string(b[:8]) != trailerMagic ||
		crc32.Checksum(b[:28], castagnoli()) != binary.LittleEndian.Uint32(b[28:]) {
		return trailer{}, false
	}
	t := trailer{
		off:    int64(binary.LittleEndian.Uint64(b[8:])),
		length: int64(binary.LittleEndian.Uint64(b[16:])),
		sum:    binary.LittleEndian.Uint32(b[24:]),
	}
	return t, t.off >= 0 && t.length >= 0 && t.off <= at && t.length == at-t.off
}

// readFooter returns the last valid footer of a segment of size bytes.
func readFooter(r io.ReaderAt, size int64) (*footer, error) {
	t, err := findTrailer(r, size)
	if err != nil {
		return nil, err
	}
	b := make([]byte, t.length)
	if _, err := r.ReadAt(b, t.off); err != nil {
		return nil, err
	}
	return decodeFooter(b, t.off)
}

// findTrailer finds the last trailer whose footer is what it was made of. Only
// the two places are looked at where one may lie, for content may look like one.
func findTrailer(r io.ReaderAt, size int64) (trailer, error) {
	// The last one first, for as a rule it is good; then backwards, in windows
	// that overlap by what a trailer may stick out.
	var buf []byte
	window := int64(trailerLength)
	for end := size; end > 0; window = trailerSearch {
		start := max(0, end-window)
		n := min(end+trailerLength-1, size) - start
		if int64(cap(buf)) < n {
			buf = make([]byte, min(size, window+trailerLength))
		}
		b := buf[:n]
		if _, err := r.ReadAt(b, start); err != nil {
			return trailer{}, err
		}
		for i := bytes.LastIndex(b, []byte(trailerMagic)); i >= 0; i = bytes.LastIndex(b[:i], []byte(trailerMagic)) {
			t, ok := parseTrailer(b[i:], start+int64(i))
			if after := size - t.off - t.length - trailerLength; !ok || (after != 0 && after != t.length+trailerLength) {
				continue
			}
			if good, err := t.matches(r); good || err != nil {
				return t, err
			}
		}
		end = start
	}
	return trailer{}, errFooter
}

// matches tells whether the footer is what the trailer was made of.
func (t trailer) matches(r io.ReaderAt) (bool, error) {
	b := make([]byte, t.length)
	if _, err := r.ReadAt(b, t.off); err != nil {
		return false, err
	}
	return crc32.Checksum(b, castagnoli()) == t.sum, nil
}
