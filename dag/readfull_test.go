package dag_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/iotest"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/dag"
)

// breaks gives n bytes, then err, in the same read as the last of them if
// together says so.
type breaks struct {
	n        int
	err      error
	together bool
}

func (b *breaks) Read(p []byte) (int, error) {
	n := min(len(p), b.n)
	clear(p[:n])
	if b.n -= n; b.n == 0 && (n == 0 || b.together) {
		return n, b.err
	}
	return n, nil
}

// TestImportOfAReaderThatBreaks: only io.EOF itself ends a content whose size is
// not known. What else a reader says, whatever it wraps, is an error, and
// nothing is stored as a file.
func TestImportOfAReaderThatBreaks(t *testing.T) {
	const mib = 1 << 20
	for _, size := range []int{0, 1, mib - 1, mib, mib + 1, 2 * mib, 3*mib + 5} {
		for _, cause := range []error{
			io.ErrUnexpectedEOF,
			fmt.Errorf("read: %w", io.EOF),
			fmt.Errorf("read: %w", io.ErrUnexpectedEOF),
			errors.New("reset"),
		} {
			for _, together := range []bool{false, true} {
				name := fmt.Sprintf("%d bytes, %v, %v", size, cause, together)
				t.Run(name, func(t *testing.T) {
					s := blockstore.NewMemory()
					defer s.Close()
					f, err := dag.Import(t.Context(), s, &breaks{size, cause, together}, dag.ImportOptions{})
					if !errors.Is(err, cause) {
						t.Fatalf("got %+v, %v, want %v", f, err, cause)
					}
					want, err := dag.Import(t.Context(), nil, bytes.NewReader(make([]byte, size)), dag.ImportOptions{HashOnly: true})
					if err != nil {
						t.Fatal(err)
					}
					if got, err := s.File(t.Context(), want.Root); err == nil {
						t.Errorf("stored as %+v", got)
					}
				})
			}
		}
	}
}

// TestImportOfAReaderThatEnds: an end may come with the last bytes or after them,
// and bytes may come one by one.
func TestImportOfAReaderThatEnds(t *testing.T) {
	const mib = 1 << 20
	for _, size := range []int{0, 1, mib, mib + 1, 2 * mib} {
		content := make([]byte, size)
		want, err := dag.Import(t.Context(), nil, bytes.NewReader(content), dag.ImportOptions{HashOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		for name, r := range map[string]io.Reader{
			"with the last bytes": &breaks{size, io.EOF, true},
			"after them":          &breaks{size, io.EOF, false},
			"half reads":          iotest.HalfReader(bytes.NewReader(content)),
		} {
			got, err := dag.Import(t.Context(), nil, r, dag.ImportOptions{HashOnly: true})
			if err != nil || got != want {
				t.Errorf("%d bytes, %s: got %+v, %v, want %+v", size, name, got, err, want)
			}
		}
	}
}

// idle never brings anything.
type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

// TestImportOfAReaderWithoutProgress ends instead of turning for ever.
func TestImportOfAReaderWithoutProgress(t *testing.T) {
	_, err := dag.Import(t.Context(), nil, idle{}, dag.ImportOptions{HashOnly: true})
	if !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("got %v, want %v", err, io.ErrNoProgress)
	}
}
