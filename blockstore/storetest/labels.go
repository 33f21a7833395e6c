package storetest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dstest "github.com/ipfs/go-datastore/test"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/blockstore"
)

func aliasTests() group {
	return group{
		"set and replace": testAlias,
		"awkward keys":    testAliasKeys,
		"raw digest":      testAliasOfRaw,
		"own bytes":       testAliasOwnBytes,
	}
}

func checkAlias(t *testing.T, s blockstore.Store, key string, root cid.Cid, meta string) {
	t.Helper()
	a, err := s.Alias(t.Context(), key)
	if err != nil || a.Root != root || string(a.Meta) != meta {
		t.Errorf("Alias(%.40q) = %v %q, %v, want %v %q", key, a.Root, a.Meta, err, root, meta)
	}
}

func testAlias(t *testing.T, s blockstore.Store) {
	a, b := rawCID(t, []byte("a")), rawCID(t, []byte("b"))
	if _, err := s.Alias(t.Context(), "url:x"); !ipld.IsNotFound(err) {
		t.Errorf("Alias = %v, want not found", err)
	}
	must(t, s.PutAlias(t.Context(), "url:x", blockstore.Alias{Root: a, Meta: []byte("m")}))
	checkAlias(t, s, "url:x", a, "m")
	must(t, s.PutAlias(t.Context(), "url:x", blockstore.Alias{Root: b}))
	checkAlias(t, s, "url:x", b, "")
}

func testAliasKeys(t *testing.T, s blockstore.Store) {
	keys := []string{
		"url:x", "url:x/", "url:x/y", "url:", "url", "u", "a b\tc\n", "url:\x00", "url:\x00\x00", "\xff\xfe",
		"hf:models/größe/模型@main/ä", "url:" + strings.Repeat("long/", 1600),
	}
	for i, key := range keys {
		must(t, s.PutAlias(t.Context(), key, blockstore.Alias{Root: rawCID(t, []byte{byte(i)})}))
	}
	for i, key := range keys {
		checkAlias(t, s, key, rawCID(t, []byte{byte(i)}), "")
	}
}

func testAliasOfRaw(t *testing.T, s blockstore.Store) {
	f := newSample(t, 40, 100, 1000)
	for _, key := range []string{sha256Key(f.File), "sha256:", "sha256:00", "sha256:" + strings.Repeat("z", 64)} {
		if _, err := s.Alias(t.Context(), key); !ipld.IsNotFound(err) {
			t.Errorf("Alias(%q) = %v, want not found", key, err)
		}
	}
	must(t, s.PutMany(t.Context(), f.blocks(t)))
	checkAlias(t, s, sha256Key(f.File), f.Root, "")
	must(t, s.DeleteBlock(t.Context(), f.Root))
	if _, err := s.Alias(t.Context(), sha256Key(f.File)); !ipld.IsNotFound(err) {
		t.Errorf("Alias = %v, want not found", err)
	}
}

func testAliasOwnBytes(t *testing.T, s blockstore.Store) {
	root, meta := rawCID(t, []byte("a")), []byte("mine")
	must(t, s.PutAlias(t.Context(), "k", blockstore.Alias{Root: root, Meta: meta}))
	clear(meta)
	checkAlias(t, s, "k", root, "mine")
	a, err := s.Alias(t.Context(), "k")
	must(t, err)
	clear(a.Meta)
	checkAlias(t, s, "k", root, "mine")
}

func pinTests() group {
	return group{"pins": testPins, "unpin": testUnpin, "created": testPinCreated, "ended": testPinEnded, "broken off": testPinsBreak}
}

// pins returns the names of all pins by root.
func pins(t *testing.T, s blockstore.Store) map[cid.Cid][]string {
	t.Helper()
	all := make(map[cid.Cid][]string)
	for p, err := range s.Pins(t.Context()) {
		must(t, err)
		all[p.Root] = sorted(append(all[p.Root], p.Name))
	}
	return all
}

func testPins(t *testing.T, s blockstore.Store) {
	if n := len(pins(t, s)); n != 0 {
		t.Errorf("%d pinned roots in an empty store", n)
	}
	a, b := rawCID(t, []byte("a")), rawCID(t, []byte("b"))
	for _, p := range []blockstore.Pin{{Root: a}, {Root: a, Name: "job:1"}, {Root: b, Name: "job:1"}, {Root: a, Name: "job:10"}, {Root: a}} {
		must(t, s.Pin(t.Context(), p))
	}
	got := pins(t, s)
	if !slices.Equal(got[a], []string{"", "job:1", "job:10"}) || !slices.Equal(got[b], []string{"job:1"}) || len(got) != 2 {
		t.Errorf("pins %q", got)
	}
}

func testUnpin(t *testing.T, s blockstore.Store) {
	a, b := rawCID(t, []byte("a")), rawCID(t, []byte("b"))
	must(t, s.Pin(t.Context(), blockstore.Pin{Root: a}))
	must(t, s.Pin(t.Context(), blockstore.Pin{Root: a, Name: "x"}))
	for _, p := range []blockstore.Pin{{Root: a, Name: "y"}, {Root: b}, {Root: b, Name: "x"}} {
		if err := s.Unpin(t.Context(), p.Root, p.Name); !ipld.IsNotFound(err) {
			t.Errorf("Unpin(%s, %q) = %v, want not found", p.Root, p.Name, err)
		}
	}
	must(t, s.Unpin(t.Context(), a, ""))
	if got := pins(t, s); !slices.Equal(got[a], []string{"x"}) {
		t.Errorf("pins %q, want x", got)
	}
	if err := s.Unpin(t.Context(), a, ""); !ipld.IsNotFound(err) {
		t.Errorf("second Unpin = %v, want not found", err)
	}
}

func testPinCreated(t *testing.T, s blockstore.Store) {
	then, root := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC), rawCID(t, []byte("a"))
	created := func() time.Time {
		for p, err := range s.Pins(t.Context()) {
			must(t, err)
			return p.Created
		}
		return time.Time{}
	}
	must(t, s.Pin(t.Context(), blockstore.Pin{Root: root, Created: then}))
	if got := created(); !got.Equal(then) {
		t.Errorf("created %v, want %v", got, then)
	}
	must(t, s.Pin(t.Context(), blockstore.Pin{Root: root}))
	if got := created(); !got.After(then) {
		t.Errorf("created %v, want now", got)
	}
}

func testPinEnded(t *testing.T, s blockstore.Store) {
	root, now := rawCID(t, []byte("a")), time.Now()
	for name, ends := range map[string]time.Time{"past": now, "future": now.Add(24 * time.Hour), "never": {}} {
		must(t, s.Pin(t.Context(), blockstore.Pin{Root: root, Name: name, Expires: ends, Owner: "of " + name}))
	}
	got := map[string]blockstore.Pin{}
	for p, err := range s.Pins(t.Context()) {
		must(t, err)
		got[p.Name] = p
	}
	f := got["future"]
	if len(got) != 2 || !f.Expires.Equal(now.Add(24*time.Hour)) || f.Owner != "of future" || !got["never"].Expires.IsZero() || got["never"].Owner != "of never" {
		t.Errorf("pins %+v", got)
	}
	must(t, s.Pin(t.Context(), blockstore.Pin{Root: root, Name: "past"})) // it is set anew
	if names := pins(t, s)[root]; !slices.Equal(names, []string{"future", "never", "past"}) {
		t.Errorf("pins %q", names)
	}
	long := blockstore.Pin{Root: root, Owner: strings.Repeat("o", blockstore.MaxOwner+1)}
	if err := s.Pin(t.Context(), long); err == nil {
		t.Error("a pin with an owner of too many bytes was taken")
	}
}

func testPinsBreak(t *testing.T, s blockstore.Store) {
	for i := range 10 {
		must(t, s.Pin(t.Context(), blockstore.Pin{Root: rawCID(t, []byte{byte(i)})}))
	}
	for _, err := range s.Pins(t.Context()) {
		must(t, err)
		break
	}
	for p, err := range s.Pins(t.Context()) { // may be used inside
		must(t, err)
		must(t, s.Unpin(t.Context(), p.Root, p.Name))
	}
	if n := len(pins(t, s)); n != 0 {
		t.Errorf("%d pinned roots left", n)
	}
	must(t, s.Pin(t.Context(), blockstore.Pin{Root: rawCID(t, nil)}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := error(nil)
	for _, err = range s.Pins(ctx) {
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Pins of a dead context = %v, want context.Canceled", err)
	}
}

func recordTests() group {
	return group{
		"records": withRecords(testRecords), "order and prefix": withRecords(testRecordsOrder),
		"buckets": testRecordBuckets, "own bytes": withRecords(testRecordsOwnBytes),
	}
}

func withRecords(test func(t *testing.T, r blockstore.Records)) func(*testing.T, blockstore.Store) {
	return func(t *testing.T, s blockstore.Store) {
		t.Helper()
		r, ok := s.(recorder)
		if !ok {
			t.Skip("this store has no records")
		}
		test(t, r.Records("jobs"))
	}
}

func recordKeys(t *testing.T, r blockstore.Records, prefix string) []string {
	t.Helper()
	var keys []string
	for rec, err := range r.All(t.Context(), prefix) {
		must(t, err)
		if string(rec.Value) != "v"+rec.Key {
			t.Errorf("record %q has value %q", rec.Key, rec.Value)
		}
		keys = append(keys, rec.Key)
	}
	return keys
}

func testRecords(t *testing.T, r blockstore.Records) {
	if _, err := r.Get(t.Context(), "a"); !ipld.IsNotFound(err) {
		t.Errorf("Get = %v, want not found", err)
	}
	must(t, r.Delete(t.Context(), "a"))
	for _, want := range []string{"one", "", "three"} {
		must(t, r.Put(t.Context(), "a", []byte(want)))
		got, err := r.Get(t.Context(), "a")
		if err != nil || string(got) != want {
			t.Errorf("Get = %q, %v, want %q", got, err, want)
		}
	}
	must(t, r.Delete(t.Context(), "a"))
	if _, err := r.Get(t.Context(), "a"); !ipld.IsNotFound(err) {
		t.Errorf("Get after Delete = %v, want not found", err)
	}
}

func testRecordsOrder(t *testing.T, r blockstore.Records) {
	keys := []string{"b", "a/2", "a", "a/10", "a\xff", "a\xff\xff", "a/1", "c/ä", "a/1\x00", "aa", "x/a/1"}
	for _, key := range keys {
		must(t, r.Put(t.Context(), key, []byte("v"+key)))
	}
	for _, prefix := range []string{"", "a", "a/", "a/1", "a\xff", "b", "c/", "d", "aaa"} {
		var want []string
		for _, key := range sorted(keys) {
			if strings.HasPrefix(key, prefix) {
				want = append(want, key)
			}
		}
		if got := recordKeys(t, r, prefix); !slices.Equal(got, want) {
			t.Errorf("All(%q) = %q, want %q", prefix, got, want)
		}
	}
	for rec, err := range r.All(t.Context(), "a/") { // may be used inside, and broken off
		must(t, err)
		must(t, r.Delete(t.Context(), rec.Key))
		if rec.Key == "a/10" {
			break
		}
	}
	if got := recordKeys(t, r, "a/"); !slices.Equal(got, []string{"a/2"}) {
		t.Errorf("left %q, want a/2", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := error(nil)
	for _, err = range r.All(ctx, "") {
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("All of a dead context = %v, want context.Canceled", err)
	}
}

func testRecordsOwnBytes(t *testing.T, r blockstore.Records) {
	value := []byte("mine")
	must(t, r.Put(t.Context(), "k", value))
	clear(value)
	for range 2 {
		got, err := r.Get(t.Context(), "k")
		if err != nil || string(got) != "mine" {
			t.Errorf("Get = %q, %v, want mine", got, err)
		}
		clear(got)
	}
}

// testRecordBuckets holds that no bucket's keys look like another's.
func testRecordBuckets(t *testing.T, s blockstore.Store) {
	r, ok := s.(recorder)
	if !ok {
		t.Skip("this store has no records")
	}
	for _, p := range [][2]string{{"a", "b/c"}, {"a/b", "c"}, {"a", "c"}, {"ab", "c"}} {
		must(t, r.Records(p[0]).Put(t.Context(), p[1], []byte("v"+p[1])))
	}
	for bucket, want := range map[string][]string{"a": {"b/c", "c"}, "a/b": {"c"}, "ab": {"c"}, "": nil, "x": nil} {
		if got := recordKeys(t, r.Records(bucket), ""); !slices.Equal(got, want) {
			t.Errorf("bucket %q has %q, want %q", bucket, got, want)
		}
	}
	// Nor like anything else of the store.
	must(t, s.Put(t.Context(), blocks.NewBlock([]byte("a block"))))
	must(t, s.PutAlias(t.Context(), "a", blockstore.Alias{Root: rawCID(t, nil)}))
	if got := recordKeys(t, r.Records("a"), ""); len(got) != 2 {
		t.Errorf("bucket has %q, want 2 keys", got)
	}
}

func datastoreTests() group {
	return group{
		"suite": withDatastore(func(t *testing.T, d datastorer) { dstest.SubtestAll(t, d.Datastore("suite")) }),
		"prefixes": withDatastore(func(t *testing.T, d datastorer) {
			a, b, key := d.Datastore("a"), d.Datastore("ab"), datastore.NewKey("/k")
			must(t, a.Put(t.Context(), key, []byte("a")))
			if has, err := b.Has(t.Context(), key); has || err != nil {
				t.Errorf("Has = %v, %v: one prefix sees the other's keys", has, err)
			}
			got, err := d.Datastore("a").Get(t.Context(), key)
			if err != nil || string(got) != "a" {
				t.Errorf("Get = %q, %v, want a", got, err)
			}
		}),
	}
}

func withDatastore(test func(t *testing.T, d datastorer)) func(*testing.T, blockstore.Store) {
	return func(t *testing.T, s blockstore.Store) {
		t.Helper()
		d, ok := s.(datastorer)
		if !ok {
			t.Skip("this store has no datastore")
		}
		test(t, d)
	}
}
