package control

import (
	"bytes"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
)

// linkTo returns a link of a dag-pb node to a leaf of 1001 bytes, without a name.
func linkTo(t *testing.T, id string) []byte {
	t.Helper()
	c, err := cid.Decode(id)
	must(t, err)
	raw := c.Bytes()
	link := append([]byte{0x0a, byte(len(raw))}, raw...)
	link = append(link, 0x12, 0x00, 0x18, 0xe9, 0x07) // empty name, size 1001
	return append([]byte{0x12, byte(len(link))}, link...)
}

// broken stores a UnixFS file of three leaves, 3003 bytes, whose last leaf is
// missing, and returns its root. It is no file of the store: it is read block by
// block.
func (r *rig) broken(t *testing.T) string {
	t.Helper()
	var node []byte
	var last string
	c := NewLocal(r.server)
	for _, letter := range []string{"a", "b", "c"} {
		s, err := c.BlockPut(t.Context(), "raw", strings.NewReader(strings.Repeat(letter, 1001)))
		must(t, err)
		last = s.CID
		node = append(node, linkTo(t, s.CID)...)
	}
	// Type file, size 3003, three parts of 1001.
	unixfs := []byte{0x08, 0x02, 0x18, 0xbb, 0x17, 0x20, 0xe9, 0x07, 0x20, 0xe9, 0x07, 0x20, 0xe9, 0x07}
	node = append(node, 0x0a, byte(len(unixfs)))
	root, err := c.BlockPut(t.Context(), "dag-pb", bytes.NewReader(append(node, unixfs...)))
	must(t, err)
	var whole bytes.Buffer
	if n, err := c.Cat(t.Context(), CatRequest{Path: root.CID, Length: -1}, &whole); err != nil || n != 3003 {
		t.Fatalf("the whole file: %d bytes, %v", n, err)
	}
	must(t, c.BlockRemove(t.Context(), last))
	return root.CID
}
