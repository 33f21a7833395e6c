package xet

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/pierrec/lz4/v4"
)

// packed stores a chunk in a scheme.
func pack(t testing.TB, scheme byte, plain []byte) []byte {
	t.Helper()
	body := plain
	if scheme == schemeGroupedLZ4 {
		body = nil
		for first := range 4 {
			for at := first; at < len(plain); at += 4 {
				body = append(body, plain[at])
			}
		}
	}
	if scheme != schemeNone {
		var out bytes.Buffer
		w := lz4.NewWriter(&out)
		_, err := w.Write(body)
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		body = out.Bytes()
	}
	return append(header(0, len(body), scheme, len(plain)), body...)
}

// header returns the header of a chunk.
func header(version byte, packed int, scheme byte, size int) []byte {
	return []byte{version, byte(packed), byte(packed >> 8), byte(packed >> 16), scheme, byte(size), byte(size >> 8), byte(size >> 16)}
}

// text returns n bytes that compress.
func text(n int) []byte { return bytes.Repeat([]byte("0123456789abcdefghi"), n/19+1)[:n] }

func TestChunks(t *testing.T) {
	var stored, want []byte
	for _, scheme := range []byte{schemeNone, schemeLZ4, schemeGroupedLZ4} {
		for _, n := range []int{1, 2, 3, 4, 5, 6, 7, 8, 1000, 65537, maxChunk} {
			stored, want = append(stored, pack(t, scheme, text(n))...), append(want, text(n)...)
		}
	}
	var c chunks
	var got []byte
	c.reset(bytes.NewReader(stored))
	for {
		chunk, err := c.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, chunk...)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
}

func TestChunkLies(t *testing.T) {
	good := pack(t, schemeLZ4, text(5000))
	longer, shorter := bytes.Clone(good), bytes.Clone(good)
	longer[5]++
	shorter[5]--
	bent := bytes.Clone(good)
	bent[4+chunkHeader] ^= 0x80 // version
	dictionary := bytes.Clone(good)
	dictionary[4+chunkHeader] |= flagDictionary
	reserved := bytes.Clone(good)
	reserved[4+chunkHeader] |= flagReserved
	tests := map[string][]byte{
		"version":                    append(header(1, 4, 0, 4), "four"...),
		"scheme 3":                   append(header(0, 4, 3, 4), "four"...),
		"auto":                       append(header(0, 4, 99, 4), "four"...),
		"no bytes":                   header(0, 0, 0, 0),
		"nothing stored":             header(0, 0, 1, 4),
		"too large":                  append(header(0, maxChunk+1, 0, maxChunk+1), make([]byte, maxChunk+1)...),
		"too large when decoded":     append(header(0, len(good)-8, 1, maxChunk+1), good[8:]...),
		"stored too large":           append(header(0, maxPacked+1, 1, 4), make([]byte, maxPacked+1)...),
		"two sizes, not compressed":  append(header(0, 4, 0, 5), "four."...),
		"longer than it says":        shorter,
		"shorter than it says":       longer,
		"another version of frames":  bent,
		"a dictionary":               dictionary,
		"a reserved flag":            reserved,
		"bytes behind the frame":     append(header(0, len(good)-7, 1, 5000), append(bytes.Clone(good[8:]), 0)...),
		"no frame":                   append(header(0, 4, 1, 4), "four"...),
		"cut in the header":          good[:5],
		"cut behind the header":      good[:8],
		"cut in the body":            good[:len(good)-1],
		"bomb":                       pack(t, schemeLZ4, make([]byte, 1<<20)),
		"grouped, cut in the middle": pack(t, schemeGroupedLZ4, text(100))[:20],
	}
	for name, stored := range tests {
		var c chunks
		c.reset(bytes.NewReader(stored))
		if chunk, err := c.next(); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: %d bytes, %v", name, len(chunk), err)
		}
	}
}

// TestFrames: frames in all the forms that an encoder makes.
func TestFrames(t *testing.T) {
	for _, size := range []lz4.BlockSize{lz4.Block64Kb, lz4.Block256Kb, lz4.Block4Mb} {
		for _, sums := range []bool{false, true} {
			for _, n := range []int{1, 65536, 65537, maxChunk} {
				for _, plain := range [][]byte{text(n), noise(n)} {
					var out bytes.Buffer
					w := lz4.NewWriter(&out)
					err := w.Apply(lz4.BlockSizeOption(size), lz4.ChecksumOption(sums), lz4.BlockChecksumOption(sums), lz4.SizeOption(uint64(n)))
					if err == nil {
						_, err = w.Write(plain)
					}
					if err := errors.Join(err, w.Close()); err != nil {
						t.Fatal(err)
					}
					got := make([]byte, n)
					if err := unframe(got, out.Bytes()); err != nil || !bytes.Equal(got, plain) {
						t.Errorf("%d bytes, blocks %v, checksums %t: %v", n, size, sums, err)
					}
				}
			}
		}
	}
}

// TestLinkedBlocks: a block may copy from the one before, as in frames whose blocks
// depend on each other.
func TestLinkedBlocks(t *testing.T) {
	plain := []byte("0123456789abcdef")
	first := append([]byte{0xf0, 1}, plain...)                   // 16 literals
	second := []byte{0x0c, 16, 0, 0x50, 'v', 'w', 'x', 'y', 'z'} // 16 bytes from 16 before, then 5 literals
	frame := []byte{0x04, 0x22, 0x4d, 0x18, 1 << 6, 4 << 4, 0}
	for _, block := range [][]byte{first, second} {
		frame = append(append(frame, byte(len(block)), 0, 0, 0), block...)
	}
	frame = append(frame, 0, 0, 0, 0)
	want := string(plain) + string(plain) + "vwxyz"
	got := make([]byte, len(want))
	if err := unframe(got, frame); err != nil || string(got) != want {
		t.Errorf("%q, %v", got, err)
	}
}

// noise returns n bytes that don't compress.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// FuzzFrame holds the decoder to the library's: what both take is the same.
func FuzzFrame(f *testing.F) {
	f.Add(pack(f, schemeLZ4, text(300))[chunkHeader:], 300)
	f.Add(pack(f, schemeLZ4, noise(300))[chunkHeader:], 300)
	f.Fuzz(func(t *testing.T, frame []byte, size int) {
		got := make([]byte, 1+uint(size)%maxChunk)
		if unframe(got, frame) != nil {
			return
		}
		want := make([]byte, len(got)+1)
		n, err := io.ReadFull(lz4.NewReader(bytes.NewReader(frame)), want)
		if errors.Is(err, io.ErrUnexpectedEOF) && !bytes.Equal(got, want[:n]) {
			t.Fatalf("%d bytes, the library has %d", len(got), n)
		}
	})
}

func FuzzChunks(f *testing.F) {
	for scheme := range byte(3) {
		f.Add(pack(f, scheme, text(300)))
	}
	f.Add(append(pack(f, 1, text(10)), pack(f, 2, text(11))...))
	f.Fuzz(func(t *testing.T, stored []byte) {
		var c chunks
		c.reset(bytes.NewReader(stored))
		for {
			chunk, err := c.next()
			if err != nil {
				return
			}
			if len(chunk) == 0 || len(chunk) > maxChunk {
				t.Fatalf("a chunk of %d bytes", len(chunk))
			}
		}
	})
}
