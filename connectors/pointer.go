package connectors

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
)

// MaxPointer is the most that a pointer of git LFS may have: bytes
// (git-lfs, docs/spec.md).
const MaxPointer = 1024

// PointerStart begins every pointer of git LFS (git-lfs, docs/spec.md).
const PointerStart = "version https://git-lfs.github.com/spec/v1\n"

// Pointer is what git has in the place of a large file.
type Pointer struct {
	SHA256 [sha256.Size]byte // of the file
	Size   int64             // of the file, in bytes
}

// ParsePointer reads a pointer of git LFS; ok is false if the text is none, be it
// that it only begins like one.
func ParsePointer(text []byte) (p Pointer, ok bool) {
	rest, ok := bytes.CutPrefix(text, []byte(PointerStart))
	if !ok || len(text) > MaxPointer {
		return Pointer{}, false
	}
	var hasSum, hasSize bool
	for line := range strings.Lines(string(rest)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch key {
		case "oid":
			value, hasSum = strings.CutPrefix(value, "sha256:")
			sum, err := hex.DecodeString(value)
			if hasSum = hasSum && err == nil && len(sum) == sha256.Size && strings.ToLower(value) == value; !hasSum {
				return Pointer{}, false
			}
			p.SHA256 = [sha256.Size]byte(sum)
		case "size":
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil || n < 0 {
				return Pointer{}, false
			}
			p.Size, hasSize = n, true
		}
	}
	return p, hasSum && hasSize
}
