package ingest_test

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // git's object hash
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/dag"
)

// sizes are those around the edges of leaves.
func sizes() []int { return []int{0, 1, 4000, 1 << 20, 1<<20 + 1, 5<<20 + 17} }

func TestFetch(t *testing.T) {
	eachStore(t, func(t *testing.T, s blockstore.Store) {
		o := newOrigin(t, map[string]*served{})
		e := newEngine(t, ingest.Config{Store: s})
		for i, n := range sizes() {
			content, name := random(byte(i), n), fmt.Sprintf("/file-%d.bin", n)
			o.set(name, &served{content: content, etag: quoted(i)})
			tee := &memFile{}
			var last ingest.Progress
			got, err := e.Fetch(t.Context(), item(t, e, o.ref(name)), ingest.Options{Tee: tee, Progress: func(p ingest.Progress) {
				if p.Done < last.Done {
					t.Errorf("progress goes back from %d to %d", last.Done, p.Done)
				}
				last = p
			}})
			must(t, err)
			tee.close()
			checkStored(t, s, got.File, content)
			if got.From != ingest.FromOrigin || got.OriginBytes != int64(n) || got.ETag != quoted(i) || got.Private || got.Shared {
				t.Errorf("%d bytes: %+v", n, got)
			}
			if got.Verified {
				t.Error("verified, though nobody named a digest")
			}
			if !got.Teed || !bytes.Equal(tee.b, content) || tee.late {
				t.Errorf("%d bytes: tee has %d bytes (whole: %v)", n, len(tee.b), got.Teed)
			}
			want := ingest.Progress{Done: int64(n), Total: int64(n), From: ingest.FromOrigin}
			if n > 0 {
				want.Transport = "http"
			}
			if last != want {
				t.Errorf("last progress %+v, want %+v", last, want)
			}
		}
	})
}

// TestSameContentElsewhere holds that a known sha256 costs no request, whatever
// it is called and wherever it comes from.
func TestSameContentElsewhere(t *testing.T) {
	eachStore(t, func(t *testing.T, s blockstore.Store) {
		e := newEngine(t, ingest.Config{Store: s})
		for i, n := range sizes() {
			content := random(byte(i), n)
			o := newOrigin(t, map[string]*served{"/a": {content: content}, "/b": {content: content}})
			other := newOrigin(t, map[string]*served{"/c": {content: content}})
			first := fetch(t, e, s, o.checked("/a", content), content)
			if !first.Verified || first.From != ingest.FromOrigin {
				t.Errorf("first fetch: %+v", first)
			}
			for _, ref := range []connectors.Ref{o.checked("/a", content), o.checked("/b", content), other.checked("/c", content)} {
				requests, sent := o.counted(func() {
					got := fetch(t, e, s, ref, content)
					if got.From != ingest.FromStore || got.OriginBytes != 0 || !got.Verified || got.Teed {
						t.Errorf("%s: %+v", ref.Value, got)
					}
				})
				if more := other.requests.Load(); requests+more != 0 || sent != 0 {
					t.Errorf("%s cost %d requests, %d bytes", ref.Value, requests+more, sent)
				}
			}
		}
	})
}

// TestConditional holds that a plain URL costs one request and no bytes while it
// does not change, and that a change is seen.
func TestConditional(t *testing.T) {
	eachStore(t, func(t *testing.T, s blockstore.Store) {
		old, changed := random(1, 3<<20), random(2, 2<<20)
		o := newOrigin(t, map[string]*served{"/f": {content: old, etag: `"1"`}})
		stored := 0
		e := newEngine(t, ingest.Config{Store: s, OnStored: func(context.Context, dag.File, bool) { stored++ }})
		fetch(t, e, s, o.ref("/f"), old)
		for range 2 {
			requests, sent := o.counted(func() {
				if got := fetch(t, e, s, o.ref("/f"), old); got.From != ingest.FromStore || got.ETag != `"1"` || got.Verified {
					t.Errorf("%+v", got)
				}
			})
			if requests != 1 || sent != 0 {
				t.Errorf("%d requests, %d bytes, want 1 and 0", requests, sent)
			}
		}
		o.set("/f", &served{content: changed, etag: `"2"`})
		if got := fetch(t, e, s, o.ref("/f"), changed); got.From != ingest.FromOrigin || got.ETag != `"2"` {
			t.Errorf("changed: %+v", got)
		}
		requests, sent := o.counted(func() { fetch(t, e, s, o.ref("/f"), changed) })
		if requests != 1 || sent != 0 {
			t.Errorf("%d requests, %d bytes, want 1 and 0", requests, sent)
		}
		if stored != 2 {
			t.Errorf("OnStored was called %d times, want 2", stored)
		}
	})
}

// TestNoValidator holds that what can't be asked for conditionally is fetched again.
func TestNoValidator(t *testing.T) {
	s := blockstore.NewMemory()
	o := newOrigin(t, map[string]*served{"/f": {content: random(1, 100)}})
	e := newEngine(t, ingest.Config{Store: s})
	fetch(t, e, s, o.ref("/f"), random(1, 100))
	o.set("/f", &served{content: random(2, 100)})
	if got := fetch(t, e, s, o.ref("/f"), random(2, 100)); got.From != ingest.FromOrigin {
		t.Errorf("%+v", got)
	}
	if _, err := s.Alias(t.Context(), urlKey(t, e, o.ref("/f"))); !ipld.IsNotFound(err) {
		t.Errorf("alias of the URL = %v, want not found", err)
	}
}

// TestLeafOfGoneFile holds that content is found as a leaf when the file that
// its sha256 stood for is gone.
func TestLeafOfGoneFile(t *testing.T) {
	s, content := blockstore.NewMemory(), random(1, 1000)
	leaf, err := dag.Import(t.Context(), s, bytes.NewReader(content), dag.ImportOptions{})
	must(t, err)
	node, err := dag.Import(t.Context(), s, bytes.NewReader(content), dag.ImportOptions{Profile: dag.V0_2015()})
	must(t, err)
	must(t, s.DeleteBlock(t.Context(), node.Root))
	o := newOrigin(t, map[string]*served{})
	e := newEngine(t, ingest.Config{Store: s})
	got, err := e.Fetch(t.Context(), item(t, e, o.checked("/f", content)), ingest.Options{})
	if err != nil || got.File != leaf || o.requests.Load() != 0 {
		t.Errorf("%+v, %v after %d requests, want the leaf after none", got, err, o.requests.Load())
	}
}

// TestFileGone holds that an alias whose file is gone is as good as none.
func TestFileGone(t *testing.T) {
	eachStore(t, func(t *testing.T, s blockstore.Store) {
		content := random(1, 3<<20)
		o := newOrigin(t, map[string]*served{"/f": {content: content, etag: `"1"`}})
		e := newEngine(t, ingest.Config{Store: s})
		for _, ref := range []connectors.Ref{o.ref("/f"), o.checked("/f", content)} {
			got := fetch(t, e, s, ref, content)
			must(t, s.DeleteBlock(t.Context(), got.File.Root))
			if again := fetch(t, e, s, ref, content); again.From != ingest.FromOrigin {
				t.Errorf("%+v", again)
			}
		}
	})
}

// TestGoneMeanwhile deletes the file while the origin says that it is current.
func TestGoneMeanwhile(t *testing.T) {
	s, content := blockstore.NewMemory(), random(1, 3<<20)
	e := newEngine(t, ingest.Config{Store: s})
	var root connectors.Item
	var conds []string
	it := connectors.Item{Path: "f", Size: -1, Key: "url:f", URL: "f", Open: func(_ context.Context, _, _ int64, cond []byte) (*connectors.Body, error) {
		conds = append(conds, string(cond))
		if len(cond) > 0 {
			must(t, s.DeleteBlock(t.Context(), root.Root))
			return nil, connectors.ErrNotModified
		}
		return &connectors.Body{ReadCloser: io.NopCloser(bytes.NewReader(content)), Size: -1, Meta: []byte(`{"etag":"x"}`)}, nil
	}}
	first, err := e.Fetch(t.Context(), it, ingest.Options{})
	must(t, err)
	root.Root = first.File.Root
	got, err := e.Fetch(t.Context(), it, ingest.Options{})
	must(t, err)
	checkStored(t, s, got.File, content)
	if len(conds) != 3 || conds[0] != "" || !strings.Contains(conds[1], `"etag":"x"`) || conds[2] != "" {
		t.Errorf("opened with %q", conds)
	}
}

// TestDigestOfOrigin holds that a digest that comes before the content saves it.
func TestDigestOfOrigin(t *testing.T) {
	eachStore(t, func(t *testing.T, s blockstore.Store) {
		content := random(1, 16<<20)
		o := newOrigin(t, map[string]*served{"/a": {content: content, digest: true, etag: `"a"`}, "/b": {content: content, digest: true, etag: `"b"`}})
		e := newEngine(t, ingest.Config{Store: s})
		if got := fetch(t, e, s, o.ref("/a"), content); !got.Verified {
			t.Errorf("%+v", got)
		}
		requests, _ := o.counted(func() {
			if got := fetch(t, e, s, o.ref("/b"), content); got.From != ingest.FromStore || got.OriginBytes != 0 || !got.Verified || got.ETag != `"b"` {
				t.Errorf("%+v", got)
			}
		})
		if requests != 1 {
			t.Errorf("%d requests, want 1", requests)
		}
		requests, sent := o.counted(func() { fetch(t, e, s, o.ref("/b"), content) })
		if requests != 1 || sent != 0 {
			t.Errorf("%d requests, %d bytes by the new name, want 1 and 0", requests, sent)
		}
	})
}

// TestMismatch holds that wrong content is named with both digests and recorded nowhere.
func TestMismatch(t *testing.T) {
	eachStore(t, func(t *testing.T, s blockstore.Store) {
		for _, n := range []int{1, 4000, 3 << 20} {
			content := random(1, n)
			bad := bytes.Clone(content)
			bad[n/2] ^= 1
			sum, badSum := sha256.Sum256(content), sha256.Sum256(bad)
			git, badGit := gitSum(content), gitSum(bad)
			o := newOrigin(t, map[string]*served{"/f": {content: bad, etag: `"1"`}, "/d": {content: bad, etag: `"1"`, digest: true}})
			e := newEngine(t, ingest.Config{Store: s})
			plain, early := item(t, e, o.ref("/f")), item(t, e, o.ref("/d"))
			for name, tc := range map[string]struct {
				it        connectors.Item
				want, got string
			}{
				"sha256":      {with(plain, func(it *connectors.Item) { it.SHA256 = &sum }), hex.EncodeToString(sum[:]), hex.EncodeToString(badSum[:])},
				"git sha1":    {with(plain, func(it *connectors.Item) { it.GitSHA1 = &git }), hex.EncodeToString(git[:]), hex.EncodeToString(badGit[:])},
				"repr-digest": {with(early, func(it *connectors.Item) { it.SHA256 = &sum }), hex.EncodeToString(sum[:]), hex.EncodeToString(badSum[:])},
				"size":        {with(plain, func(it *connectors.Item) { it.Size = int64(n) + 1 }), fmt.Sprint(n + 1), fmt.Sprint(n)},
			} {
				t.Run(fmt.Sprintf("%s of %d", name, n), func(t *testing.T) {
					got, err := e.Fetch(t.Context(), tc.it, ingest.Options{Tee: &memFile{}})
					if !errors.Is(err, connectors.ErrMismatch) || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), tc.got) {
						t.Errorf("%v, want ErrMismatch with %s and %s", err, tc.want, tc.got)
					}
					if got.Teed || got.File.Root.Defined() {
						t.Errorf("got %+v beside an error", got)
					}
					checkNothing(t, s, bad, tc.it.Key, "gitsha1:"+hex.EncodeToString(git[:]), "gitsha1:"+hex.EncodeToString(badGit[:]))
				})
			}
		}
	})
}

// TestGitSHA1 holds that a git sha1 is checked, recorded and found again.
func TestGitSHA1(t *testing.T) {
	eachStore(t, func(t *testing.T, s blockstore.Store) {
		e := newEngine(t, ingest.Config{Store: s})
		for i, n := range sizes() {
			content := random(byte(i), n)
			git := gitSum(content)
			o := newOrigin(t, map[string]*served{"/a": {content: content}, "/b": {content: content}})
			a := with(item(t, e, o.ref("/a")), func(it *connectors.Item) { it.GitSHA1 = &git })
			b := with(item(t, e, o.ref("/b")), func(it *connectors.Item) { it.GitSHA1 = &git; it.Size = int64(n) })
			got, err := e.Fetch(t.Context(), a, ingest.Options{})
			must(t, err)
			checkStored(t, s, got.File, content)
			requests, _ := o.counted(func() {
				got, err := e.Fetch(t.Context(), b, ingest.Options{})
				if err != nil || got.From != ingest.FromStore || !got.Verified {
					t.Errorf("%+v, %v", got, err)
				}
			})
			if requests != 0 {
				t.Errorf("%d requests, want none", requests)
			}
		}
		bodyless := connectors.Item{Path: "f", Size: -1, GitSHA1: &[20]byte{1}, Open: func(context.Context, int64, int64, []byte) (*connectors.Body, error) {
			return &connectors.Body{ReadCloser: io.NopCloser(strings.NewReader("x")), Size: -1}, nil
		}}
		if _, err := e.Fetch(t.Context(), bodyless, ingest.Options{}); !errors.Is(err, connectors.ErrUpstream) {
			t.Errorf("git sha1 without a size: %v, want ErrUpstream", err)
		}
	})
}

// TestContradiction holds that a stored file that is not what the source
// announces is not handed out for it.
func TestContradiction(t *testing.T) {
	s, a, b := blockstore.NewMemory(), random(1, 1000), random(2, 1000)
	o := newOrigin(t, map[string]*served{"/a": {content: a}, "/b": {content: b}})
	e := newEngine(t, ingest.Config{Store: s})
	pinnedKey := func(name string, content []byte) connectors.Item {
		sum := sha256.Sum256(content)
		return with(item(t, e, o.ref(name)), func(it *connectors.Item) { it.Key, it.Pinned, it.SHA256 = "hf:x@1/f", true, &sum })
	}
	_, err := e.Fetch(t.Context(), pinnedKey("/a", a), ingest.Options{})
	must(t, err)
	got, err := e.Fetch(t.Context(), pinnedKey("/b", b), ingest.Options{})
	must(t, err)
	checkStored(t, s, got.File, b)
}

func TestNoSpace(t *testing.T) {
	s := blockstore.NewMemory()
	s.SetLimit(1 << 20)
	var noSpace []error
	for _, n := range []int{1<<20 + 1, 3 << 20} {
		for _, sized := range []bool{true, false} {
			e := newEngine(t, ingest.Config{Store: s})
			it := bodyItem(random(1, n), nil)
			if sized {
				it.Size = int64(n)
			}
			_, err := e.Fetch(t.Context(), it, ingest.Options{})
			noSpace = append(noSpace, err)
			checkNothing(t, s, random(1, n))
		}
	}
	for _, err := range noSpace {
		if !errors.Is(err, blockstore.ErrNoSpace) {
			t.Errorf("%v, want ErrNoSpace", err)
		}
	}
}

func TestPins(t *testing.T) {
	s, content := blockstore.NewMemory(), random(1, 100)
	o := newOrigin(t, map[string]*served{"/f": {content: content}})
	now := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	e := newEngine(t, ingest.Config{Store: s, Now: func() time.Time { return now }})
	it := item(t, e, o.checked("/f", content))
	got, err := e.Fetch(t.Context(), it, ingest.Options{NoPin: true})
	must(t, err)
	if pinned(t, s, got.File, "") {
		t.Error("pinned despite NoPin")
	}
	for _, name := range []string{"job:1", ""} {
		_, err := e.Fetch(t.Context(), it, ingest.Options{Pin: name})
		must(t, err)
		if !pinned(t, s, got.File, name) {
			t.Errorf("no pin %q", name)
		}
	}
	for p, err := range s.Pins(t.Context()) {
		if err != nil || !p.Created.Equal(now) {
			t.Errorf("pin %+v, %v, want it created at %v", p, err, now)
		}
	}
}

// TestInvalid holds that an item that leads nowhere, and a reference that nobody
// takes, are refused.
func TestInvalid(t *testing.T) {
	e := newEngine(t, ingest.Config{Store: blockstore.NewMemory()})
	if _, err := e.Fetch(t.Context(), connectors.Item{Path: "f"}, ingest.Options{}); !errors.Is(err, connectors.ErrInvalid) {
		t.Errorf("%v, want ErrInvalid", err)
	}
	for _, err := range e.Resolve(t.Context(), connectors.Ref{Type: "gopher"}, connectors.Access{}) {
		if !errors.Is(err, connectors.ErrUnsupported) {
			t.Errorf("%v, want ErrUnsupported", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Fetch(ctx, bodyItem(nil, nil), ingest.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
}

// with returns a changed copy of an item.
func with(it connectors.Item, change func(*connectors.Item)) connectors.Item {
	change(&it)
	return it
}

// bodyItem is an item whose body is the content, then err (nil: a clean end).
func bodyItem(content []byte, err error) connectors.Item {
	if err == nil {
		err = io.EOF
	}
	return connectors.Item{Path: "f", URL: "test:f", Size: -1, Open: func(context.Context, int64, int64, []byte) (*connectors.Body, error) {
		return &connectors.Body{ReadCloser: io.NopCloser(io.MultiReader(bytes.NewReader(content), failing{err})), Size: -1}, nil
	}}
}

// failing is a reader that returns an error.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func gitSum(content []byte) [sha1.Size]byte {
	return sha1.Sum(append(fmt.Appendf(nil, "blob %d\x00", len(content)), content...)) //nolint:gosec // git's object hash
}
