package blockstore

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
)

// table returns the bytes of a real table of Badger's.
func table(tb testing.TB) []byte {
	tb.Helper()
	dir := tb.TempDir()
	x, err := openBadger(dir, badgerConfig{log: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	b := newBatch(x)
	for i := range 1000 {
		b.set(fmt.Appendf(nil, "key %d", i), []byte("value"))
	}
	if err := errors.Join(x.write(b.ops), x.close()); err != nil {
		tb.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil || len(names) == 0 {
		tb.Fatalf("no table in the index: %v", err)
	}
	data, err := os.ReadFile(names[0])
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// TestCheckTable cuts a table everywhere near its end and flips a bit of each of
// its bytes: all must be seen, and the whole table must pass.
func TestCheckTable(t *testing.T) {
	whole := table(t)
	check := func(b []byte) error { return checkTable(bytes.NewReader(b), int64(len(b))) }
	if err := check(whole); err != nil {
		t.Fatalf("a whole table: %v", err)
	}
	for cut := 1; cut <= min(len(whole), 600); cut++ {
		if check(whole[:len(whole)-cut]) == nil {
			t.Errorf("a table without its last %d bytes passes", cut)
		}
	}
	b := bytes.Clone(whole)
	for i := range b {
		b[i] ^= 1 << (i % 8)
		if check(b) == nil {
			t.Errorf("a table with a flipped bit in byte %d of %d passes", i, len(b))
		}
		b[i] = whole[i]
	}
	if check(nil) == nil {
		t.Error("an empty table passes")
	}
}

func FuzzCheckTable(f *testing.F) {
	f.Add(table(f))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0})
	// A checksum of a kind that there is none of.
	f.Add([]byte("\x00\x00pppp\x01\xe3\xf1\xe3\xe3\x00\x00\x7f\x93G#\x8f\x9f\xff;;;\x85;;\x00;\xf8\x00\x00\x00\x00\x06P4\b\xdb\xff\x00\x00\x00\x00\x06"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_ = checkTable(bytes.NewReader(b), int64(len(b)))
	})
}
