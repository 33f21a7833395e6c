package blockstore

import (
	"bytes"
	"testing"

	"github.com/ipfs/go-cid"
)

// TestHolesBesideHeads: dead records get a head that a scan passes over, wherever
// they begin; a page that begins inside of that head is not punched with the rest.
func TestHolesBesideHeads(t *testing.T) {
	dir := t.TempDir()
	d := openTuned(t, dir, 64<<20)
	// Records of 4,101 bytes, every third of them dead: dead ones begin 15 bytes
	// farther in their page each time, so that one has its head cut by the page's
	// end, whose last 15 places are that.
	const payload, records = 4<<10 + 5 - packHeader - 36, 3 * 300
	cut := 0
	for i := range records {
		data := bytes.Repeat([]byte{byte(i), byte(i >> 8), 7}, payload)[:payload]
		blk := mustBlock(cid.Raw, data)
		check(t, d.Put(t.Context(), blk))
		if i%3 > 0 {
			check(t, d.Pin(t.Context(), Pin{Root: blk.Cid()}))
			continue
		}
		known, err := d.copies(blk.Cid())
		check(t, err)
		if head := known.all[0].off - packHeader - 36; page-head%page < packHeader {
			cut++
		}
	}
	check(t, d.Sync(t.Context()))
	if cut == 0 {
		t.Fatal("no record begins at the end of a page")
	}
	got, err := d.Collect(t.Context(), testLinks)
	check(t, err)
	if got.Blocks != records/3 {
		t.Fatalf("collected %+v", got)
	}
	for f, err := range d.Verify(t.Context(), VerifyOptions{}) {
		t.Errorf("Verify: %+v, %v", f, err)
	}
}
