package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/hypha-node/hypha-node/connectors"
)

// pointerError says that an origin gave a pointer of git LFS in the place of a file.
type pointerError struct {
	connectors.Pointer
	source string
}

// Error says what the pointer is of.
func (e *pointerError) Error() string {
	return fmt.Sprintf("%v to %s (%d bytes), not the file", connectors.ErrPointer, sha256Key(e.SHA256), e.Size)
}

// Unwrap returns ErrPointer.
func (e *pointerError) Unwrap() error { return connectors.ErrPointer }

// notPointer returns a body that begins as r does; a *pointerError if all of it is a
// pointer. size is the body's, -1 if unknown.
func notPointer(r io.Reader, size int64, it connectors.Item) (io.Reader, error) {
	if size > connectors.MaxPointer {
		return r, nil
	}
	// As much as tells most contents from a pointer, then what a pointer can have.
	head, err := readHead(r, nil, len(connectors.PointerStart))
	if err == nil && string(head) == connectors.PointerStart {
		head, err = readHead(r, head, connectors.MaxPointer+1-len(head))
	}
	if err == io.EOF { //nolint:errorlint // a wrapped one is the origin's failure
		if p, ok := connectors.ParsePointer(head); ok {
			return nil, &pointerError{Pointer: p, source: it.URL}
		}
	}
	if err != nil {
		return io.MultiReader(bytes.NewReader(head), broken{err}), nil
	}
	return io.MultiReader(bytes.NewReader(head), r), nil
}

// readHead appends up to n bytes of r to head; io.EOF says that it ended before.
// An origin's io.ErrUnexpectedEOF is its failure, and is passed on.
func readHead(r io.Reader, head []byte, n int) ([]byte, error) {
	for want := len(head) + n; len(head) < want; {
		more := make([]byte, want-len(head))
		got, err := r.Read(more)
		head = append(head, more[:got]...)
		if err != nil {
			return head, err
		}
	}
	return head, nil
}

// broken is a reader that has failed, or ended.
type broken struct{ err error }

// Read returns the error.
func (b broken) Read([]byte) (int, error) { return 0, b.err }

// bringLarge gets the file that a pointer stands for: from the store, or from where
// the source has it, if it says so.
func (e *Engine) bringLarge(ctx context.Context, f *flight, p *pointerError) (Fetched, error) {
	refused := &connectors.Error{
		Op: "read", Source: p.source, Err: p,
		Hint: "fetch the file itself (on a hub: /resolve/ in the place of /raw/), or `git lfs pull` it and `hypha-node add` it",
	}
	it := f.item
	if it.SHA256 != nil && *it.SHA256 != p.SHA256 {
		return Fetched{}, refused
	}
	it.SHA256, it.GitSHA1, it.Size, it.Key, it.ETag = &p.SHA256, nil, p.Size, "", ""
	it.May, it.Same = nil, nil // whoever may read a pointer need not have the file
	if got, ok, err := e.lookupSHA256(ctx, it, p.SHA256); ok || err != nil {
		return got, err
	}
	if it.Large == nil {
		return Fetched{}, refused
	}
	large, ok := it.Large()
	if !ok {
		return Fetched{}, refused
	}
	large.SHA256, large.Size, large.Large = it.SHA256, it.Size, nil
	asked := f.item
	f.item = large
	defer func() { f.item = asked }() // who waits compares it with its own
	got, err := e.bring(ctx, f)
	if errors.Is(err, connectors.ErrPointer) || errors.Is(err, connectors.ErrNotFound) {
		return got, refused
	}
	return got, err
}
