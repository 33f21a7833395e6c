package jobs

import (
	"crypto/rand"
	"fmt"
	"strings"
)

const (
	maxID    = 64 // bytes: a UUID with a prefix fits
	randomID = 12 // characters of base32, 60 bits: short, for the path of the socket
)

// specID returns the id of a new job: the given one if it is acceptable, a
// random one for "".
func specID(id string) (string, error) {
	if id == "" {
		return strings.ToLower(rand.Text()[:randomID]), nil
	}
	return id, checkID(id)
}

// checkID refuses an id that is no harmless file name on every system.
func checkID(id string) error {
	ok := len(id) <= maxID && id != "" && alphanumeric(id[0]) && id[len(id)-1] != '.'
	for i := 0; ok && i < len(id); i++ {
		ok = alphanumeric(id[i]) || strings.IndexByte("._-", id[i]) >= 0
	}
	if !ok {
		return fmt.Errorf("%w %q: at most %d of [A-Za-z0-9._-], beginning with a letter or a digit", ErrID, clip(id), maxID)
	}
	return nil
}

// alphanumeric tells whether c is an ASCII letter or digit.
func alphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// clip shortens an outside string for a message.
func clip(s string) string { return s[:min(len(s), 2*maxID)] }

// clipText shortens a message that may quote outside text.
func clipText(s string) string {
	const most = 512 // bytes
	return strings.ToValidUTF8(s[:min(len(s), most)], "�")
}
