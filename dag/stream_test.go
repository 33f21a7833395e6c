package dag

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
)

// readStream reads a part of a file to its end.
func readStream(ctx context.Context, r *Reader, off, n int64) ([]byte, error) {
	s, err := r.Stream(ctx, off, n)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(s)
	return b, errors.Join(err, s.Close())
}

// TestStreamEnds: whoever stops early leaves nobody behind (goleak), and reads nothing
// any more.
func TestStreamEnds(t *testing.T) {
	b := content(40<<20 + 3) // more than is ever ahead of 7 MiB
	s := newStore(t)
	f := mustImport(t, s, b, ImportOptions{})
	for name, src := range map[string]Getter{"store": s, "remote": remote{s}} {
		r, err := Open(t.Context(), src, f.Root)
		if err != nil {
			t.Fatal(err)
		}
		r.ReadAhead(4 << 20)
		for _, taken := range []int{0, 1, 1<<20 + 1, 7 << 20, len(b)} {
			ctx, cancel := context.WithCancel(t.Context())
			st, err := r.Stream(ctx, 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, taken)
			if _, err := io.ReadFull(st, got); err != nil || !bytes.Equal(got, b[:taken]) {
				t.Errorf("%s: %d bytes: %v", name, taken, err)
			}
			if taken == 7<<20 {
				cancel()
				if _, err := io.Copy(io.Discard, st); !errors.Is(err, context.Canceled) {
					t.Errorf("%s: cancelled after %d bytes: %v", name, taken, err)
				}
			}
			for range 2 {
				if err := st.Close(); err != nil {
					t.Errorf("%s: close after %d bytes: %v", name, taken, err)
				}
			}
			if n, err := st.Read(got[:min(1, taken)]); n != 0 || !errors.Is(err, fs.ErrClosed) {
				t.Errorf("%s: read of what is closed = %d, %v", name, n, err)
			}
			cancel()
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestStreamDamaged: what comes before a bad block is read, and nothing else.
func TestStreamDamaged(t *testing.T) {
	b := content(9<<20 + 5)
	s := newStore(t)
	f := mustImport(t, s, b, ImportOptions{})
	links, err := Links(f.Root, mustGet(t, s, f.Root))
	if err != nil {
		t.Fatal(err)
	}
	if !s.Corrupt(links[4]) {
		t.Fatal("nothing to corrupt")
	}
	r, err := Open(t.Context(), s, f.Root)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := readStream(t.Context(), r, 0, -1)
	if !errors.Is(err, blockstore.ErrCorrupt) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if len(got) != 4<<20 || !bytes.Equal(got, b[:4<<20]) {
		t.Errorf("%d bytes were read before the bad block, want 4 MiB", len(got))
	}
}
