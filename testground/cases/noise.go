package cases

import (
	"crypto/sha256"
	"io"
	"math/rand/v2"
)

// Noise returns the content of all cases: size bytes that don't compress and
// don't repeat.
func Noise(size int64) io.Reader {
	return io.LimitReader(rand.NewChaCha8([32]byte{1}), size)
}

// NoiseSum returns its sha256.
func NoiseSum(size int64) (sum [32]byte, err error) {
	h := sha256.New()
	if _, err := io.Copy(h, Noise(size)); err != nil {
		return sum, err
	}
	return [32]byte(h.Sum(nil)), nil
}

// DefaultChunk is the size of a block in bytes where a case says nothing.
const DefaultChunk = 256 << 10
