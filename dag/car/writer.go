package car

import (
	"encoding/binary"
	"io"

	"github.com/ipfs/go-cid"
)

// HeaderSize returns the bytes of the header of version 1.
func HeaderSize(roots []cid.Cid) int64 { return int64(len(appendHeader(nil, roots))) }

// SectionSize returns the bytes of the section of a block.
func SectionSize(c cid.Cid, block int64) int64 {
	n := int64(c.ByteLen()) + block
	return int64(len(binary.AppendUvarint(nil, uint64(n)))) + n
}

// WrapSize returns the bytes that version 2 adds to a CAR, without an index.
func WrapSize() int64 { return wrapSize }

// Writer writes one CAR. It belongs to one goroutine.
type Writer struct {
	w    io.Writer
	head []byte
}

// NewWriter writes the header of a CAR of version 1 and returns what writes its
// sections. What goes to w goes there at once.
func NewWriter(w io.Writer, roots []cid.Cid) (*Writer, error) {
	_, err := w.Write(appendHeader(nil, roots))
	return &Writer{w: w}, err
}

// NewWriterV2 is NewWriter for version 2 without an index. size is what follows
// the wrapping: the header of version 1 and all sections, bytes.
func NewWriterV2(w io.Writer, roots []cid.Cid, size int64) (*Writer, error) {
	b := append([]byte(pragma), make([]byte, 16)...) // no characteristics
	b = binary.LittleEndian.AppendUint64(b, uint64(wrapSize))
	b = binary.LittleEndian.AppendUint64(b, uint64(size))
	b = binary.LittleEndian.AppendUint64(b, 0) // no index
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	return NewWriter(w, roots)
}

// Write writes the section of a block.
func (w *Writer) Write(c cid.Cid, data []byte) error {
	w.head = binary.AppendUvarint(w.head[:0], uint64(c.ByteLen()+len(data)))
	w.head = append(w.head, c.Bytes()...)
	if _, err := w.w.Write(w.head); err != nil {
		return err
	}
	_, err := w.w.Write(data)
	return err
}
