package bitswap

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// findProtocol asks one peer for one file by the sha256 of its content. The asker
// sends the 32 bytes of the digest; the answer is one byte, answerNo or answerYes,
// and after a yes the size of the content in bytes (8 bytes, big endian), the
// length of the root's CID (one byte) and that CID in its binary form. Then both
// close the stream.
const findProtocol protocol.ID = "/hypha/find/1"

// Answers of findProtocol.
const (
	answerNo  = 0
	answerYes = 1
)

// maxRootBytes bounds the CID of an answer: a CIDv1 of a sha2-512 has 68 bytes.
const maxRootBytes = 128

// errAnswer says that a peer's answer is none.
var errAnswer = errors.New("invalid answer")

// Holding is a file that a node has.
type Holding struct {
	Root cid.Cid // of its DAG
	Size int64   // bytes of content
}

// encodeAnswer returns an answer; nil is a no.
func encodeAnswer(h *Holding) []byte {
	if h == nil {
		return []byte{answerNo}
	}
	root := h.Root.Bytes()
	b := []byte{answerYes}
	b = binary.BigEndian.AppendUint64(b, uint64(h.Size)) //nolint:gosec // a size is not negative
	b = append(b, byte(len(root)))
	return append(b, root...)
}

// readAnswer reads an answer; nil is a no.
func readAnswer(r io.Reader) (*Holding, error) {
	var head [1 + 8 + 1]byte
	if _, err := io.ReadFull(r, head[:1]); err != nil {
		return nil, fmt.Errorf("%w: %w", errAnswer, err)
	}
	switch head[0] {
	case answerNo:
		return nil, nil //nolint:nilnil // as the comment says
	case answerYes:
	default:
		return nil, fmt.Errorf("%w: it begins with %d", errAnswer, head[0])
	}
	if _, err := io.ReadFull(r, head[1:]); err != nil {
		return nil, fmt.Errorf("%w: %w", errAnswer, err)
	}
	size, length := binary.BigEndian.Uint64(head[1:9]), int(head[9])
	if size > 1<<62 || length > maxRootBytes {
		return nil, fmt.Errorf("%w: a file of %d bytes, a CID of %d", errAnswer, size, length)
	}
	root := make([]byte, length)
	if _, err := io.ReadFull(r, root); err != nil {
		return nil, fmt.Errorf("%w: %w", errAnswer, err)
	}
	n, c, err := cid.CidFromBytes(root)
	if err != nil || n != length {
		return nil, fmt.Errorf("%w: %x is no CID", errAnswer, root)
	}
	return &Holding{Root: c, Size: int64(size)}, nil
}

// readQuestion reads the digest that is asked for.
func readQuestion(r io.Reader) (sum [sha256.Size]byte, err error) {
	_, err = io.ReadFull(r, sum[:])
	return sum, err
}
