package hubtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"sync"

	"github.com/pierrec/lz4/v4"
)

// Shape of the xorbs that a file is made of. They are smaller than the true ones
// (64 MiB, some thousand chunks), so that small files have several.
const (
	minXetChunk, maxXetChunk = 8 << 10, 128 << 10 // bytes
	chunksOfTerm             = 5                  // chunks of a file that follow each other in a xorb
	termsOfXorb              = 16
)

// xorb is a container of chunks, as it is stored.
type xorb struct {
	hash   string
	data   []byte
	starts []int64 // in data, of each chunk; then the end
	sizes  []int64 // bytes of each chunk, decoded
}

// xetTerm is a run of chunks that a file has at its place.
type xetTerm struct {
	xorb       *xorb
	start, end int // chunks, end exclusive
}

// size returns the decoded bytes of a run of chunks.
func (x *xorb) size(start, end int) (n int64) {
	for _, s := range x.sizes[start:end] {
		n += s
	}
	return n
}

// xetFile is what a file is made of.
type xetFile struct{ terms []xetTerm }

// newXetFile returns what is built when it is first asked for, once. It holds the
// whole content in memory.
func newXetFile(c Content) func() (*xetFile, error) {
	return sync.OnceValues(func() (*xetFile, error) {
		r, err := c.Open()
		if err != nil {
			return nil, err
		}
		defer r.Close()
		b := xorbBuilder{seen: map[[sha256.Size]byte]xetTerm{}}
		if err := b.cut(r); err != nil {
			return nil, err
		}
		b.seal()
		return &b.file, nil
	})
}

// xorbBuilder puts the chunks of a file into two xorbs by turns, with a chunk of
// another file behind each term: so a file needs several ranges of each xorb, as
// one does that shares chunks with others.
type xorbBuilder struct {
	file  xetFile
	open  [2]*xorb
	terms int // that were cut
	seen  map[[sha256.Size]byte]xetTerm
}

// cut reads a content and makes terms of it.
func (b *xorbBuilder) cut(r io.Reader) error {
	var number uint64
	for {
		var chunks [][]byte
		sum := sha256.New()
		for range chunksOfTerm {
			size := minXetChunk + mix(number)%(maxXetChunk-minXetChunk+1)
			number++
			chunk := make([]byte, size)
			n, err := io.ReadFull(r, chunk)
			if n > 0 {
				chunks = append(chunks, chunk[:n])
				sum.Write(chunk[:n])
			}
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				b.term(chunks, [sha256.Size]byte(sum.Sum(nil)))
				return nil
			}
			if err != nil {
				return err
			}
		}
		b.term(chunks, [sha256.Size]byte(sum.Sum(nil)))
	}
}

// term adds a term, of a xorb that has it already if there is one.
func (b *xorbBuilder) term(chunks [][]byte, sum [sha256.Size]byte) {
	if len(chunks) == 0 {
		return
	}
	t, ok := b.seen[sum]
	if !ok {
		if b.terms == 2*termsOfXorb {
			b.seal()
		}
		x := &b.open[b.terms%2]
		b.terms++
		if *x == nil {
			*x = &xorb{}
		}
		t = xetTerm{xorb: *x, start: len((*x).sizes)}
		for _, c := range chunks {
			(*x).add(c)
		}
		t.end = len((*x).sizes)
		(*x).add([]byte("a chunk of another file"))
		b.seen[sum] = t
	}
	b.file.terms = append(b.file.terms, t)
}

// seal ends the xorbs that are open.
func (b *xorbBuilder) seal() {
	for i, x := range b.open {
		if x != nil {
			x.starts = append(x.starts, int64(len(x.data)))
			sum := sha256.Sum256(x.data)
			x.hash = hex.EncodeToString(sum[:])
		}
		b.open[i] = nil
	}
	b.terms = 0
}

// add stores a chunk: each of the schemes in its turn.
func (x *xorb) add(chunk []byte) {
	scheme := byte(len(x.sizes) % 3)
	body := chunk
	switch scheme {
	case 1:
		body = frame(chunk)
	case 2:
		body = frame(group(chunk))
	}
	x.starts = append(x.starts, int64(len(x.data)))
	x.sizes = append(x.sizes, int64(len(chunk)))
	p, n := len(body), len(chunk)
	x.data = append(x.data, 0, byte(p), byte(p>>8), byte(p>>16), scheme, byte(n), byte(n>>8), byte(n>>16))
	x.data = append(x.data, body...)
}

// frame compresses to an LZ4 frame.
func frame(b []byte) []byte {
	var out bytes.Buffer
	w := lz4.NewWriter(&out)
	// Nothing of this fails in memory. Blocks are as small as the true ones.
	_ = w.Apply(lz4.BlockSizeOption(lz4.Block64Kb))
	_, _ = w.Write(b)
	_ = w.Close()
	return out.Bytes()
}

// group puts every fourth byte together.
func group(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for first := range 4 {
		for at := first; at < len(b); at += 4 {
			out = append(out, b[at])
		}
	}
	return out
}
