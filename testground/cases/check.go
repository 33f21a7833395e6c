package cases

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
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

// Reference returns what a job asks its bridge for, in the words of the bridge: the
// content of a CID or, at a URL, Noise of a size in bytes by its sha256.
func Reference(what string, size int64) (map[string]any, error) {
	if !strings.HasPrefix(what, "http://") {
		return map[string]any{"type": "cids", "values": []string{what}}, nil
	}
	sum, err := NoiseSum(size)
	return map[string]any{"type": "URI", "value": what, "checksum": "sha256:" + hex.EncodeToString(sum[:])}, err
}
