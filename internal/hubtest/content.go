package hubtest

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // git's object hash
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"os"
	"sync"
)

// Content is the bytes of a file. It is safe for concurrent use.
type Content struct {
	size    int64
	open    func() (io.ReadSeekCloser, error)
	digests func() (digests, error)
}

// digests are the two names of a content.
type digests struct {
	sha256 string // of the content
	git    string // sha1 of "blob <size>\0" and the content
}

// Bytes returns a content held in memory.
func Bytes(b []byte) Content {
	return newContent(int64(len(b)), func() (io.ReadSeekCloser, error) {
		return nopCloser{bytes.NewReader(b)}, nil
	})
}

// Disk returns the content of a file, which must not change; it is sent by the
// kernel where no fault is planted.
func Disk(path string) (Content, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Content{}, err
	}
	return newContent(info.Size(), func() (io.ReadSeekCloser, error) { return os.Open(path) }), nil
}

// Random returns size bytes that look random and depend on seed alone. They are
// never held in memory at once; making them costs a copy.
func Random(seed uint64, size int64) Content {
	table := newTable(seed)
	return newContent(size, func() (io.ReadSeekCloser, error) {
		return &generator{seed: seed, table: table, size: size}, nil
	})
}

// newContent returns a content whose digests are computed when they are first
// asked for, once.
func newContent(size int64, open func() (io.ReadSeekCloser, error)) Content {
	c := Content{size: size, open: open}
	c.digests = sync.OnceValues(func() (digests, error) { return c.digest() })
	return c
}

// Size returns the size in bytes.
func (c Content) Size() int64 { return c.size }

// SHA256 returns the sha256 of the content in hex.
func (c Content) SHA256() (string, error) {
	d, err := c.digests()
	return d.sha256, err
}

// GitSHA1 returns git's object hash of the content in hex.
func (c Content) GitSHA1() (string, error) {
	d, err := c.digests()
	return d.git, err
}

// Open opens the content for reading; the caller closes it.
func (c Content) Open() (io.ReadSeekCloser, error) { return c.open() }

// digest reads the content once.
func (c Content) digest() (digests, error) {
	f, err := c.open()
	if err != nil {
		return digests{}, err
	}
	whole, git := sha256.New(), gitHash(c.size)
	_, err = io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(whole, git)}, struct{ io.Reader }{f}, make([]byte, 1<<20))
	if err := errors.Join(err, f.Close()); err != nil {
		return digests{}, err
	}
	return digests{hex.EncodeToString(whole.Sum(nil)), hex.EncodeToString(git.Sum(nil))}, nil
}

// gitHash returns git's object hash, before the content.
func gitHash(size int64) hash.Hash {
	h := sha1.New() //nolint:gosec // git's object hash
	fmt.Fprintf(h, "blob %d\x00", size)
	return h
}

// nopCloser closes nothing.
type nopCloser struct{ io.ReadSeeker }

// Close does nothing.
func (nopCloser) Close() error { return nil }

// tableSize is how many random bytes a generator repeats, stamp how often it
// stamps the offset over them, so that no two stretches are equal: bytes.
const (
	tableSize = 1 << 20
	stamp     = 64 << 10
)

// newTable returns the random bytes of a seed.
func newTable(seed uint64) []byte {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	table := make([]byte, tableSize)
	// A ChaCha8 never returns an error.
	_, _ = rand.NewChaCha8(key).Read(table)
	return table
}

// generator reads a generated content.
type generator struct {
	seed      uint64
	table     []byte
	size, pos int64
}

// Read gives the next bytes: the table, over and over, with the mixed offset
// over the first eight bytes of every stamp.
func (g *generator) Read(p []byte) (int, error) {
	if g.pos >= g.size {
		return 0, io.EOF
	}
	n := 0
	for n < len(p) && g.pos < g.size {
		in := g.pos % stamp
		take := int(min(int64(len(p)-n), g.size-g.pos, stamp-in))
		copy(p[n:n+take], g.table[g.pos%tableSize:])
		if in < 8 {
			var b [8]byte
			binary.LittleEndian.PutUint64(b[:], mix(g.seed^uint64(g.pos/stamp)))
			copy(p[n:n+take], b[in:])
		}
		n += take
		g.pos += int64(take)
	}
	return n, nil
}

// Seek moves the position.
func (g *generator) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += g.pos
	case io.SeekEnd:
		offset += g.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the start")
	}
	g.pos = offset
	return offset, nil
}

// Close does nothing.
func (*generator) Close() error { return nil }

// mix spreads the bits of a number (the finaliser of splitmix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
