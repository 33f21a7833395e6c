package blockstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// maxTableSum is the most bytes that the checksum record at the end of a table
// may have; Badger writes fewer than 16.
const maxTableSum = 64

// checkTables holds each of Badger's tables in dir against its checksums: those
// of the index at its end and of all its blocks. Badger opens tables in
// goroutines of its own, trusts the lengths in them, and reports a block whose
// checksum is wrong through a nil pointer (v4.9.6, table.initIndex and
// table.VerifyChecksum): any damage is a panic that nobody can recover. It reads
// every table once, which Badger therefore need not do.
func checkTables(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := checkTableFile(name); err != nil {
			return fmt.Errorf("table %s: %w", filepath.Base(name), err)
		}
	}
	return nil
}

func checkTableFile(name string) (err error) {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	return checkTable(f, st.Size())
}

// checkTable holds the end of a table of size bytes against its checksum. The
// form, from the end backwards: length of the checksum record (4 bytes, big
// endian), the record, length of the index (4 bytes), the index.
func checkTable(r io.ReaderAt, size int64) error {
	sumLen, err := tableLength(r, size-4, maxTableSum)
	if err != nil {
		return err
	}
	record := make([]byte, sumLen)
	if _, err := r.ReadAt(record, size-4-sumLen); err != nil {
		return err
	}
	sum := new(pb.Checksum)
	if err := proto.Unmarshal(record, sum); err != nil {
		return fmt.Errorf("%w: %w", errIndexDamaged, err)
	}
	end := size - 8 - sumLen
	indexLen, err := tableLength(r, end, end)
	if err != nil {
		return err
	}
	index := make([]byte, indexLen)
	if _, err := r.ReadAt(index, end-indexLen); err != nil {
		return err
	}
	if err := checkSum(index, sum); err != nil {
		return err
	}
	return checkTableBlocks(r, fb.GetRootAsTableIndex(index, 0), end-indexLen)
}

// checkTableBlocks holds the blocks that an index names, all of which end before
// the offset end, against their checksums. The form of a block, from its end
// backwards: length of the checksum record (4 bytes, big endian), the record,
// what it covers.
func checkTableBlocks(r io.ReaderAt, index *fb.TableIndex, end int64) error {
	var at fb.BlockOffset
	var block []byte
	for i := range index.OffsetsLength() {
		if !index.Offsets(&at, i) {
			return fmt.Errorf("%w: no offset of block %d", errIndexDamaged, i)
		}
		off, n := int64(at.Offset()), int64(at.Len())
		if n < 8 || off+n > end {
			return fmt.Errorf("%w: block %d of %d bytes at offset %d", errIndexDamaged, i, n, off)
		}
		block = slices.Grow(block[:0], int(n))[:n]
		if _, err := r.ReadAt(block, off); err != nil {
			return err
		}
		sumLen := int64(binary.BigEndian.Uint32(block[n-4:]))
		if sumLen > min(maxTableSum, n-4) {
			return fmt.Errorf("%w: a checksum of %d bytes in block %d", errIndexDamaged, sumLen, i)
		}
		sum := new(pb.Checksum)
		if err := proto.Unmarshal(block[n-4-sumLen:n-4], sum); err != nil {
			return fmt.Errorf("%w: %w", errIndexDamaged, err)
		}
		if err := checkSum(block[:n-4-sumLen], sum); err != nil {
			return fmt.Errorf("block %d: %w", i, err)
		}
	}
	return nil
}

// checkSum compares bytes with their checksum. Badger's own function panics when
// the record names an algorithm that it does not know.
func checkSum(b []byte, sum *pb.Checksum) error {
	if _, known := pb.Checksum_Algorithm_name[int32(sum.GetAlgo())]; !known {
		return fmt.Errorf("%w: checksum of kind %d", errIndexDamaged, sum.GetAlgo())
	}
	if err := y.VerifyChecksum(b, sum); err != nil {
		return fmt.Errorf("%w: %w", errIndexDamaged, err)
	}
	return nil
}

// tableLength reads a length at off; it must be in 1..limit and leave room
// before off.
func tableLength(r io.ReaderAt, off, limit int64) (int64, error) {
	if off < 0 {
		return 0, fmt.Errorf("%w: too short", errIndexDamaged)
	}
	var b [4]byte
	if _, err := r.ReadAt(b[:], off); err != nil {
		return 0, err
	}
	n := int64(binary.BigEndian.Uint32(b[:]))
	if n < 1 || n > limit || n+4 > off {
		return 0, fmt.Errorf("%w: a length of %d bytes at offset %d", errIndexDamaged, n, off)
	}
	return n, nil
}
