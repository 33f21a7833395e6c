package memo

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
)

// TestTable holds that values are found again by another table on the same
// records, unless they were meant for memory alone, and that both kinds of memory
// are bounded.
func TestTable(t *testing.T) {
	store, err := blockstore.Open(t.Context(), t.TempDir(), blockstore.Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, log := t.Context(), slog.New(slog.DiscardHandler)
	open := func() *Table { return New(store.Records("hub"), log) }
	a := open()
	a.Put(ctx, "kept", []byte("1"))
	a.Note("noted", []byte("2"))
	a.Note("kept", []byte("1")) // does not make it less
	a.Put(ctx, "large", make([]byte, maxRecord+1))
	if string(a.Get(ctx, "noted")) != "2" || string(a.Get(ctx, "kept")) != "1" || a.Get(ctx, "absent") != nil || a.Get(ctx, "large") == nil {
		t.Error("the first table forgot")
	}
	b := open()
	if b.Get(ctx, "noted") != nil || b.Get(ctx, "large") != nil || string(b.Get(ctx, "kept")) != "1" {
		t.Error("the second table has something else")
	}
	b.memoryLimit, b.diskLimit = 8<<10, 4<<10
	big := bytes.Repeat([]byte("x"), 1000)
	for i := range 20 {
		b.Put(ctx, fmt.Sprint(i), big)
		if b.memory.bytes > b.memoryLimit || b.disk.bytes > b.diskLimit {
			t.Fatalf("%d bytes in memory, %d on disk", b.memory.bytes, b.disk.bytes)
		}
	}
	var bytes int64
	for r, err := range store.Records("hub").All(ctx, "") {
		if err != nil {
			t.Fatal(err)
		}
		bytes += int64(len(r.Key) + len(r.Value))
	}
	if bytes != b.disk.bytes || bytes > b.diskLimit || bytes < 3000 || b.Get(ctx, "kept") != nil || b.Get(ctx, "0") != nil {
		t.Errorf("%d bytes on disk, %d counted", bytes, b.disk.bytes)
	}
}
