package conntest

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // git's object hash
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/ipfs/go-cid"
	"golang.org/x/sync/errgroup"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/internal/safename"
)

// Fixture is a connector with an origin behind it.
type Fixture struct {
	Connector connectors.Connector
	Access    connectors.Access
	Ref       connectors.Ref // stands for Files
	Files     []File         // in the order in which the reference yields them
	Missing   connectors.Ref // something that the origin does not have; zero Type: not tested
}

// File is what an item must turn out to be.
type File struct {
	Path    string
	Content []byte // small enough for a test; at least one file should exceed 1 MiB
}

// Run runs the suite; open is called once for each test and cleans up by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	t.Helper()
	tests := []struct {
		name string
		run  func(*testing.T, Fixture)
	}{
		{"supports", testSupports},
		{"items", testItems},
		{"items stop", testItemsStop},
		{"open whole", testOpenWhole},
		{"open ranges", testOpenRanges},
		{"open concurrently", testOpenConcurrently},
		{"go on", testGoOn},
		{"cancel", testCancel},
		{"close early", testCloseEarly},
		{"missing", testMissing},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, open(t)) })
	}
}

// Items collects what a reference stands for.
func Items(t *testing.T, f Fixture) []connectors.Item {
	t.Helper()
	var items []connectors.Item
	for it, err := range f.Connector.Items(t.Context(), f.Ref, f.Access) {
		if err != nil {
			t.Fatalf("items: %v", err)
		}
		items = append(items, it)
	}
	return items
}

// testSupports: a connector takes its own references and no zero one.
func testSupports(t *testing.T, f Fixture) {
	if !f.Connector.Supports(f.Ref) {
		t.Errorf("does not take %v", f.Ref)
	}
	if f.Connector.Supports(connectors.Ref{}) {
		t.Error("takes the zero reference")
	}
}

// testItems: items are right, in order, and the same when asked for again.
func testItems(t *testing.T, f Fixture) {
	items := Items(t, f)
	if len(items) != len(f.Files) {
		t.Fatalf("%d items, want %d", len(items), len(f.Files))
	}
	for i, it := range items {
		want := f.Files[i]
		if it.Path != want.Path {
			t.Errorf("item %d is %q, want %q", i, it.Path, want.Path)
		}
		if err := safename.Path(it.Path); err != nil {
			t.Errorf("item %d: %v", i, err)
		}
		if it.Size != -1 && it.Size != int64(len(want.Content)) {
			t.Errorf("%s: %d bytes, want %d", it.Path, it.Size, len(want.Content))
		}
		checkIdentity(t, it, want.Content)
		if it.Source == "" {
			t.Errorf("%s: no source", it.Path)
		}
		if it.Pinned && it.Key == "" {
			t.Errorf("%s: pinned without a key", it.Path)
		}
		if (it.Open == nil) != it.Root.Defined() {
			t.Errorf("%s: needs either a root or a way to open it", it.Path)
		}
	}
	again := Items(t, f)
	if diff := cmp.Diff(items, again, cmpopts.IgnoreFields(connectors.Item{}, "Open", "May", "Look", "Direct", "Large"), cmpopts.EquateComparable(cid.Cid{})); diff != "" {
		t.Errorf("items differ at the second time (-first +second):\n%s", diff)
	}
}

// checkIdentity compares digests of an item, where it has some, with its content.
func checkIdentity(t *testing.T, it connectors.Item, content []byte) {
	t.Helper()
	if sum := sha256.Sum256(content); it.SHA256 != nil && *it.SHA256 != sum {
		t.Errorf("%s: sha256 is %x, want %x", it.Path, *it.SHA256, sum)
	}
	git := sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(content)), content...)) //nolint:gosec // git's object hash
	if it.GitSHA1 != nil && *it.GitSHA1 != git {
		t.Errorf("%s: git sha1 is %x, want %x", it.Path, *it.GitSHA1, git)
	}
}

// testItemsStop: the iteration may be left at any time.
func testItemsStop(t *testing.T, f Fixture) {
	n := 0
	for _, err := range f.Connector.Items(t.Context(), f.Ref, f.Access) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		break
	}
	if n != 1 {
		t.Errorf("%d items before the break, want 1", n)
	}
}

// openable yields the items that are opened, with their content.
func openable(t *testing.T, f Fixture) func(yield func(connectors.Item, []byte) bool) {
	items := Items(t, f)
	return func(yield func(connectors.Item, []byte) bool) {
		for i, it := range items {
			if it.Open != nil && i < len(f.Files) && !yield(it, f.Files[i].Content) {
				return
			}
		}
	}
}

// testOpenWhole: the body is the content, twice, and says how long it is.
func testOpenWhole(t *testing.T, f Fixture) {
	for it, want := range openable(t, f) {
		for range 2 {
			body, err := it.Open(t.Context(), 0, -1, nil)
			if err != nil {
				t.Fatalf("%s: %v", it.Path, err)
			}
			got, err := io.ReadAll(body)
			if err := errors.Join(err, body.Close()); err != nil {
				t.Fatalf("%s: %v", it.Path, err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s: %d bytes, not the %d bytes of the content", it.Path, len(got), len(want))
			}
			if body.Size != -1 && body.Size != int64(len(want)) {
				t.Errorf("%s: body says %d bytes, want %d", it.Path, body.Size, len(want))
			}
			if sum := sha256.Sum256(want); body.SHA256 != nil && *body.SHA256 != sum {
				t.Errorf("%s: body says sha256 %x, want %x", it.Path, *body.SHA256, sum)
			}
		}
	}
}

// span is a range to open: n < 0 means to the end.
type span struct{ off, n int64 }

// spans returns ranges of a content of that size, with their edges.
func spans(size int64) []span {
	all := []span{
		{0, 0},
		{0, 1},
		{0, size},
		{0, size + 10},
		{1, -1},
		{1, 1},
		{size / 2, 0},
		{size / 2, -1},
		{size / 2, size / 3},
		{size - 1, 1},
		{size - 1, -1},
		{size - 1, 10},
		{size, -1},
		{size, 0},
		{size, 1},
	}
	return slices.DeleteFunc(all, func(s span) bool { return s.off < 0 || s.off > size })
}

// slice returns the part of a content that a range means.
func (s span) slice(content []byte) []byte {
	rest := content[s.off:]
	if s.n >= 0 && s.n < int64(len(rest)) {
		rest = rest[:s.n]
	}
	return rest
}

// testOpenRanges: each range is the part of the content that it names, and a
// range that begins behind the end is an error.
func testOpenRanges(t *testing.T, f Fixture) {
	for it, content := range openable(t, f) {
		for _, s := range spans(int64(len(content))) {
			if err := openSpan(t.Context(), it, s, content); err != nil {
				t.Error(err)
			}
		}
		body, err := it.Open(t.Context(), int64(len(content))+1, 1, nil)
		if err == nil {
			var got []byte
			if got, err = io.ReadAll(body); err == nil {
				t.Errorf("%s: a range behind the end gives %d bytes", it.Path, len(got))
			}
			if err := body.Close(); err != nil {
				t.Errorf("%s: %v", it.Path, err)
			}
		}
	}
}

// openSpan opens a range and compares it with the content.
func openSpan(ctx context.Context, it connectors.Item, s span, content []byte) error {
	body, err := it.Open(ctx, s.off, s.n, nil)
	if err != nil {
		return fmt.Errorf("%s %+v: %w", it.Path, s, err)
	}
	got, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		return fmt.Errorf("%s %+v: %w", it.Path, s, err)
	}
	if !bytes.Equal(got, s.slice(content)) {
		return fmt.Errorf("%s %+v: %d bytes that are not the %d bytes of the range", it.Path, s, len(got), len(s.slice(content)))
	}
	return nil
}

// testOpenConcurrently: one item may be open many times at once.
func testOpenConcurrently(t *testing.T, f Fixture) {
	var g errgroup.Group
	g.SetLimit(16)
	for it, content := range openable(t, f) {
		size := int64(len(content))
		for i := range int64(8) {
			s := span{off: i * size / 8, n: size/8 + 1}
			g.Go(func() error { return openSpan(t.Context(), it, s, content) })
		}
	}
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
}

// testGoOn: a content that has not changed can be gone on with, by what its body
// said of it; only who can't tell may refuse.
func testGoOn(t *testing.T, f Fixture) {
	for it, content := range openable(t, f) {
		off := len(content) / 2
		first, err := it.Open(t.Context(), 0, int64(off), nil)
		if err != nil {
			t.Fatalf("%s: %v", it.Path, err)
		}
		got, err := io.ReadAll(first)
		if err := errors.Join(err, first.Close()); err != nil {
			t.Fatalf("%s: %v", it.Path, err)
		}
		if off == 0 {
			continue // there a condition means something else
		}
		rest, err := it.Open(t.Context(), int64(off), -1, first.Meta)
		if errors.Is(err, connectors.ErrChanged) && it.SHA256 == nil && it.GitSHA1 == nil {
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", it.Path, err)
		}
		more, err := io.ReadAll(rest)
		if err := errors.Join(err, rest.Close()); err != nil {
			t.Fatalf("%s: %v", it.Path, err)
		}
		if !bytes.Equal(append(got, more...), content) {
			t.Errorf("%s: %d and %d bytes, not the %d bytes of the content", it.Path, len(got), len(more), len(content))
		}
	}
}

// testCancel: when its context ends, a body that is being read fails.
func testCancel(t *testing.T, f Fixture) {
	for it, content := range openable(t, f) {
		ctx, cancel := context.WithCancel(t.Context())
		body, err := it.Open(ctx, 0, -1, nil)
		if err != nil {
			cancel()
			t.Fatalf("%s: %v", it.Path, err)
		}
		if _, err := io.ReadFull(body, make([]byte, min(len(content), 1))); err != nil {
			t.Errorf("%s: %v", it.Path, err)
		}
		cancel()
		n, err := io.Copy(io.Discard, body)
		// Of a content that was read to its end nothing is left to fail.
		if whole := len(content) <= 1; !whole && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %d bytes and %v after cancel, want %v", it.Path, n, err, context.Canceled)
		}
		if err := body.Close(); err != nil {
			t.Errorf("%s: close after cancel: %v", it.Path, err)
		}
	}
}

// testCloseEarly: a body that is not wanted any more is closed, twice if need
// be, and can't be read after that.
func testCloseEarly(t *testing.T, f Fixture) {
	for it := range openable(t, f) {
		body, err := it.Open(t.Context(), 0, -1, nil)
		if err != nil {
			t.Fatalf("%s: %v", it.Path, err)
		}
		if err := errors.Join(body.Close(), body.Close()); err != nil {
			t.Errorf("%s: %v", it.Path, err)
		}
		if n, err := body.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("%s: read of a closed body gives %d bytes, %v", it.Path, n, err)
		}
	}
}

// testMissing: what is not there is an ErrNotFound, from Items or from Open.
func testMissing(t *testing.T, f Fixture) {
	if f.Missing.Type == "" {
		return // this connector can't miss anything
	}
	for it, err := range f.Connector.Items(t.Context(), f.Missing, f.Access) {
		if err == nil && it.Open != nil {
			var body *connectors.Body
			if body, err = it.Open(t.Context(), 0, -1, nil); err == nil {
				t.Errorf("%s: opened, although it is missing; %v", it.Path, body.Close())
			}
		}
		if !errors.Is(err, connectors.ErrNotFound) {
			t.Errorf("error is %v, want %v", err, connectors.ErrNotFound)
		}
		return
	}
	t.Error("no item and no error for what is missing")
}
