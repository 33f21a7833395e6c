package car

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/internal/dagcbor"
)

// ErrMalformed says that something is no CAR, or a broken one. Errors that wrap it
// tell where.
var ErrMalformed = errors.New("malformed CAR")

// Bounds of a CAR that is read: bytes.
const (
	maxHeader  = 1 << 20       // 25,000 roots
	maxSection = 2<<20 + 1<<10 // the largest block that is stored, docs/terms.md, and its CID
)

// Layout of version 2; https://ipld.io/specs/transport/car/carv2/
const (
	headerSize = 40 // behind the pragma: two words of characteristics, data offset, data size, index offset
	wrapSize   = int64(len(pragma)) + headerSize
)

// pragma is the frame that begins a CAR of version 2: the header of version 1 with
// another version and without roots.
const pragma = "\x0a\xa1\x67version\x02"

// appendHeader appends the frame that begins a CAR of version 1.
func appendHeader(b []byte, roots []cid.Cid) []byte {
	var h []byte
	h = dagcbor.AppendHead(h, dagcbor.Map, 2)
	h = append(dagcbor.AppendHead(h, dagcbor.Text, 5), "roots"...)
	h = dagcbor.AppendHead(h, dagcbor.Array, uint64(len(roots)))
	for _, c := range roots {
		h = append(dagcbor.AppendHead(h, dagcbor.Link, uint64(c.ByteLen())), c.Bytes()...)
	}
	h = append(dagcbor.AppendHead(h, dagcbor.Text, 7), "version"...)
	h = dagcbor.AppendHead(h, dagcbor.Uint, 1)
	return append(binary.AppendUvarint(b, uint64(len(h))), h...)
}

// parseHeader reads the header in a CAR's first frame.
func parseHeader(b []byte) (version uint64, roots []cid.Cid, err error) {
	r := dagcbor.NewReader(b)
	head, _, err := r.Next()
	if err != nil || head.Kind != dagcbor.Map {
		return 0, nil, fmt.Errorf("header is no map of DAG-CBOR: %w", errors.Join(err, ErrMalformed))
	}
	known := map[string]bool{}
	for range head.N {
		key, _, err := r.Next()
		if err != nil {
			return 0, nil, headerError(err)
		}
		name := string(key.Data)
		if key.Kind != dagcbor.Text || known[name] {
			return 0, nil, headerError(fmt.Errorf("key %.40q", name))
		}
		known[name] = true
		switch name {
		case "version":
			version, err = headerVersion(r)
		case "roots":
			roots, err = headerRoots(r)
		default:
			err = fmt.Errorf("key %.40q is unknown", name)
		}
		if err != nil {
			return 0, nil, headerError(err)
		}
	}
	if _, _, err := r.Next(); err != nil {
		return 0, nil, headerError(err)
	}
	if !known["version"] {
		return 0, nil, headerError(errors.New("it tells no version"))
	}
	return version, roots, nil
}

// headerError returns an error about the header.
func headerError(err error) error { return fmt.Errorf("%w: header: %w", ErrMalformed, err) }

// headerVersion reads the number of the version.
func headerVersion(r *dagcbor.Reader) (uint64, error) {
	it, _, err := r.Next()
	if err == nil && it.Kind != dagcbor.Uint {
		err = errors.New("version is no number")
	}
	return it.N, err
}

// headerRoots reads the array of roots; null stands for none.
func headerRoots(r *dagcbor.Reader) ([]cid.Cid, error) {
	list, _, err := r.Next()
	if err != nil {
		return nil, err
	}
	if list.Kind == dagcbor.Other {
		return nil, nil
	}
	if list.Kind != dagcbor.Array {
		return nil, errors.New("roots are no array")
	}
	var roots []cid.Cid
	for range list.N {
		it, _, err := r.Next()
		if err != nil {
			return nil, err
		}
		if it.Kind != dagcbor.Link {
			return nil, errors.New("a root is no link")
		}
		roots = append(roots, it.CID)
	}
	return roots, nil
}
