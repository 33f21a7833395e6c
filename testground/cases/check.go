package cases

import (
	"crypto/sha256"
	"fmt"
	"io"
)

// Check reads a file to its end and returns how many bytes it has, if they are
// Noise of that size.
func Check(r io.Reader, size int64) (int64, error) {
	want, err := NoiseSum(size)
	if err != nil {
		return 0, err
	}
	sum := sha256.New()
	n, err := io.Copy(sum, r)
	if err != nil {
		return n, err
	}
	if got := [32]byte(sum.Sum(nil)); got != want {
		return n, fmt.Errorf("sha256 of the file is %x, want %x", got, want)
	}
	return n, nil
}
