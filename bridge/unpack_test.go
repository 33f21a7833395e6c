package bridge

import (
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/internal/safename"
)

// FuzzBaseName: whatever a sender calls its file, what it is called here is one
// safe segment with room for two numbers before it.
func FuzzBaseName(f *testing.F) {
	for _, s := range []string{
		"", ".", "..", "a", "a/b", `a\b`, "../../x", "\x00", "\xff", "é", strings.Repeat("n", 255), strings.Repeat("é", 200),
		strings.Repeat("x", 230) + ".tar.gz", "." + strings.Repeat("y", 254), ".hypha-tmp-a", "c:x", "\u202e", "a\nb",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		base := baseName(name)
		for _, s := range []string{base, "9223372036854775807.999-" + base} {
			if err := safename.Segment(s); err != nil {
				t.Errorf("%q became %q: %v", name, base, err)
			}
		}
	})
}
