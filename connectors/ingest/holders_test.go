package ingest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/dag"
)

// crowd is a network whose members say what they are told to.
type crowd struct {
	says  []ingest.Holder
	never bool // it ends with its context only

	mu     sync.Mutex
	asked  int
	blamed []string
}

func (c *crowd) Holders(ctx context.Context, _ [sha256.Size]byte) iter.Seq[ingest.Holder] {
	return func(yield func(ingest.Holder) bool) {
		c.mu.Lock()
		c.asked++
		c.mu.Unlock()
		for _, h := range c.says {
			if !yield(h) {
				return
			}
		}
		if c.never {
			<-ctx.Done()
		}
	}
}

func (c *crowd) Blame(peer string, lied bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.blamed = append(c.blamed, fmt.Sprintf("%s %v", peer, lied))
}

// hold has a peer's store hold content.
func hold(t *testing.T, s blockstore.Store, content []byte) dag.File {
	t.Helper()
	f, err := dag.Import(t.Context(), s, bytes.NewReader(content), dag.ImportOptions{})
	must(t, err)
	return f
}

// TestHolders fetches what an origin and peers have, from peers who tell the truth,
// who lie, and who don't send.
func TestHolders(t *testing.T) {
	content, other := random(1, 5<<20), random(2, 5<<20)
	for _, c := range []struct {
		name   string
		says   func(true, false, absent dag.File) []ingest.Holder
		from   ingest.From
		copies int64
		blamed []string
	}{
		{name: "nobody", from: ingest.FromOrigin},
		{
			name:   "one",
			says:   func(right, _, _ dag.File) []ingest.Holder { return []ingest.Holder{{"a", right.Root, right.Size}} },
			from:   ingest.FromPeer,
			copies: 1,
		},
		{
			name: "liars first",
			says: func(right, wrong, _ dag.File) []ingest.Holder {
				return []ingest.Holder{{"a", wrong.Root, wrong.Size}, {"b", wrong.Root, wrong.Size}, {"c", right.Root, right.Size}}
			},
			from:   ingest.FromPeer,
			copies: 2, // the same lie is not fetched again
			blamed: []string{"a true", "b true"},
		},
		{
			name:   "a liar only",
			says:   func(_, wrong, _ dag.File) []ingest.Holder { return []ingest.Holder{{"a", wrong.Root, wrong.Size}} },
			from:   ingest.FromOrigin,
			copies: 1,
			blamed: []string{"a true"},
		},
		{
			name:   "larger than said",
			says:   func(right, _, _ dag.File) []ingest.Holder { return []ingest.Holder{{"a", right.Root, 1 << 20}} },
			from:   ingest.FromOrigin,
			copies: 1,
			blamed: []string{"a true"},
		},
		{
			name:   "not there",
			says:   func(_, _, absent dag.File) []ingest.Holder { return []ingest.Holder{{"a", absent.Root, absent.Size}} },
			from:   ingest.FromOrigin,
			copies: 1,
			blamed: []string{"a false"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachStore(t, func(t *testing.T, s blockstore.Store) {
				src := blockstore.NewMemory()
				right, wrong := hold(t, src, content), hold(t, src, other)
				absent := hold(t, blockstore.NewMemory(), random(3, 5<<20))
				net := &crowd{}
				if c.says != nil {
					net.says = c.says(right, wrong, absent)
				}
				p := &peer{src: src}
				o := newOrigin(t, map[string]*served{"/f": {content: content}})
				e := newEngine(t, ingest.Config{Store: s, Blocks: p, Finder: net})
				tee := &memFile{}
				var got ingest.Fetched
				_, n := o.counted(func() {
					var err error
					got, err = e.Fetch(t.Context(), item(t, e, o.checked("/f", content)), ingest.Options{Tee: tee})
					must(t, err)
				})
				checkStored(t, s, got.File, content)
				if got.From != c.from || !got.Verified || got.Private || (n == 0) != (c.from == ingest.FromPeer) || got.OriginBytes != n {
					t.Errorf("%d bytes of the origin, %+v", n, got)
				}
				if got.Teed && !bytes.Equal(tee.b, content) || got.From == ingest.FromPeer && got.PeerBytes == 0 {
					t.Errorf("teed %t, %d bytes of peers", got.Teed, got.PeerBytes)
				}
				if p.copies.Load() != c.copies || !slices.Equal(net.blamed, c.blamed) {
					t.Errorf("%d copies, blamed %q", p.copies.Load(), net.blamed)
				}
			})
		})
	}
}

// TestHoldersAreNotAsked: about what is fetched with a credential, what has no
// digest, what is here, and what has come in part.
func TestHoldersAreNotAsked(t *testing.T) {
	content := random(1, 3<<20)
	src := blockstore.NewMemory()
	f := hold(t, src, content)
	net := &crowd{says: []ingest.Holder{{"a", f.Root, f.Size}}}
	o := newOrigin(t, map[string]*served{"/f": {content: content, token: "x"}, "/g": {content: random(2, 3<<20)}})
	s := blockstore.NewMemory()
	e := newEngine(t, ingest.Config{Store: s, Blocks: &peer{src: src}, Finder: net})
	secret := o.checked("/f", content)
	secret.Headers = map[string]connectors.Secret{"Authorization": "Bearer x"}
	if got := fetch(t, e, s, secret, content); got.From != ingest.FromOrigin || !got.Private {
		t.Errorf("%+v", got)
	}
	if got := fetch(t, e, s, o.ref("/g"), random(2, 3<<20)); got.From != ingest.FromOrigin {
		t.Errorf("%+v", got)
	}
	if got := fetch(t, e, s, secret, content); got.From != ingest.FromStore {
		t.Errorf("%+v", got)
	}
	if net.asked != 0 {
		t.Errorf("asked %d times", net.asked)
	}
}

// TestHoldersAreTooSlow: an origin is asked though the network never ends to look.
func TestHoldersAreTooSlow(t *testing.T) {
	content := random(1, 3<<20)
	net := &crowd{never: true}
	o := newOrigin(t, map[string]*served{"/f": {content: content}})
	s := blockstore.NewMemory()
	e := newEngine(t, ingest.Config{Store: s, Blocks: &peer{src: blockstore.NewMemory()}, Finder: net, Patience: time.Millisecond})
	if got := fetch(t, e, s, o.checked("/f", content), content); got.From != ingest.FromOrigin || net.asked != 1 {
		t.Errorf("asked %d times, %+v", net.asked, got)
	}
}

// TestHoldersWhenTheOriginIsGone: peers are asked again, with what is needed to
// find the file by its other names.
func TestHoldersWhenTheOriginIsGone(t *testing.T) {
	content := random(1, 3<<20)
	src := blockstore.NewMemory()
	f := hold(t, src, content)
	late := &lateCrowd{crowd: crowd{says: []ingest.Holder{{"a", f.Root, f.Size}}}}
	o := newOrigin(t, map[string]*served{"/f": {status: http.StatusGone}})
	s := blockstore.NewMemory()
	e := newEngine(t, ingest.Config{Store: s, Blocks: &peer{src: src}, Finder: late})
	if got := fetch(t, e, s, o.checked("/f", content), content); got.From != ingest.FromPeer || late.asked != 2 {
		t.Errorf("asked %d times, %+v", late.asked, got)
	}
	// With nobody who has it the origin's own error is what counts.
	nobody := newEngine(t, ingest.Config{Store: blockstore.NewMemory(), Blocks: &peer{src: src}, Finder: &crowd{}})
	_, err := nobody.Fetch(t.Context(), item(t, nobody, o.checked("/f", content)), ingest.Options{})
	if failure, ok := errors.AsType[*connectors.Error](err); !ok || failure.Status != http.StatusGone {
		t.Errorf("error %v", err)
	}
}

// lateCrowd knows nothing when it is asked first.
type lateCrowd struct{ crowd }

func (c *lateCrowd) Holders(ctx context.Context, sum [sha256.Size]byte) iter.Seq[ingest.Holder] {
	if c.asked == 0 {
		c.asked++
		return func(func(ingest.Holder) bool) {}
	}
	return c.crowd.Holders(ctx, sum)
}

// TestHoldersName: what came from a peer is found by its immutable name later,
// without anybody being asked.
func TestHoldersName(t *testing.T) {
	content := random(1, 3<<20)
	src := blockstore.NewMemory()
	f := hold(t, src, content)
	net := &crowd{says: []ingest.Holder{{"a", f.Root, f.Size}}}
	s := blockstore.NewMemory()
	e := newEngine(t, ingest.Config{Store: s, Blocks: &peer{src: src}, Finder: net})
	it := connectors.Item{
		Path: "f", Size: f.Size, SHA256: &f.SHA256, Key: "hf:models/a/b@c/f", Pinned: true,
		Open: func(context.Context, int64, int64, []byte) (*connectors.Body, error) {
			return nil, connectors.ErrUpstream
		},
	}
	got, err := e.Fetch(t.Context(), it, ingest.Options{})
	must(t, err)
	if got.From != ingest.FromPeer || got.File != f {
		t.Errorf("%+v", got)
	}
	it.SHA256 = nil
	if got, err = e.Fetch(t.Context(), it, ingest.Options{}); err != nil || got.From != ingest.FromStore || !got.Verified {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestAnnounced: a root, its file's digest, and nothing of what is private.
func TestAnnounced(t *testing.T) {
	s := blockstore.NewMemory()
	o := newOrigin(t, map[string]*served{"/f": {content: random(3, 3<<20), token: "x"}})
	e := newEngine(t, ingest.Config{Store: s})
	large, small := hold(t, s, random(1, 3<<20)), hold(t, s, random(2, 1000))
	ref := o.ref("/f")
	ref.Headers = map[string]connectors.Secret{"Authorization": "Bearer x"}
	private := fetch(t, e, s, ref, random(3, 3<<20)).File
	for _, c := range []struct {
		f      dag.File
		keys   int
		public bool
	}{{large, 2, true}, {small, 1, true}, {private, 0, false}} {
		keys, err := ingest.Announced(t.Context(), s, c.f.Root)
		must(t, err)
		if len(keys) != c.keys || c.keys > 0 && !keys[0].Equals(c.f.Root) {
			t.Errorf("announced %v", keys)
		}
		if c.keys == 2 && (keys[1].Type() != cid.Raw || string(keys[1].Hash()[2:]) != string(c.f.SHA256[:])) {
			t.Errorf("announced %v of %x", keys, c.f.SHA256)
		}
		got, ok, err := ingest.Public(t.Context(), s, c.f.SHA256)
		if err != nil || ok != c.public || ok && got != c.f {
			t.Errorf("public %t: %+v, %v", ok, got, err)
		}
	}
	if _, ok, err := ingest.Public(t.Context(), s, sha256.Sum256([]byte("nothing"))); ok || err != nil {
		t.Errorf("public %t, %v", ok, err)
	}
}

// TestStats: what came is counted by where it came from, while it comes too.
func TestStats(t *testing.T) {
	content := random(1, 3<<20)
	held := &served{content: content, hold: make(chan struct{}), reached: make(chan struct{})}
	o := newOrigin(t, map[string]*served{"/f": held, "/gone": {status: http.StatusGone}})
	src := blockstore.NewMemory()
	f := hold(t, src, random(2, 3<<20))
	s := blockstore.NewMemory()
	e := newEngine(t, ingest.Config{Store: s, Blocks: &peer{src: src}})
	done := make(chan error, 1)
	it := item(t, e, o.checked("/f", content))
	go func() {
		_, err := e.Fetch(t.Context(), it, ingest.Options{})
		done <- err
	}()
	<-held.reached
	until(t, "the first leaf is counted", func() bool {
		st := e.Stats()
		return len(st.Active) == 1 && st.Active[0].Done == 1<<20 && st.Active[0].From == ingest.FromOrigin &&
			st.Active[0].Total == 3<<20 && st.Active[0].Name == o.URL+"/f" && st.Bytes[ingest.FromOrigin] == 1<<20
	})
	close(held.hold)
	must(t, <-done)
	fetch(t, e, s, o.checked("/f", content), content)
	_, err := e.Fetch(t.Context(), connectors.Item{Path: "g", Size: -1, Root: f.Root}, ingest.Options{})
	must(t, err)
	if _, err := e.Fetch(t.Context(), item(t, e, o.ref("/gone")), ingest.Options{}); err == nil {
		t.Error("fetched what is gone")
	}
	st := e.Stats()
	if st.Files[ingest.FromOrigin] != 1 || st.Files[ingest.FromStore] != 1 || st.Files[ingest.FromPeer] != 1 || st.Failed != 1 || len(st.Active) != 0 {
		t.Errorf("%+v", st)
	}
	if st.Bytes[ingest.FromOrigin] != 3<<20 || st.Bytes[ingest.FromStore] != 3<<20 || st.Bytes[ingest.FromPeer] != 3<<20 {
		t.Errorf("%+v", st)
	}
}
