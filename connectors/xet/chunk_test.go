package xet

import (
	"bytes"
	"errors"
	"io"
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
	bent[len(bent)-1] ^= 1
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
		"checksum":                   bent,
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
