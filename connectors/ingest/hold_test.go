package ingest_test

import (
	"context"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/dag"
)

func openDisk(t *testing.T) *blockstore.Disk {
	t.Helper()
	d, err := blockstore.Open(t.Context(), t.TempDir(), blockstore.Options{Reserve: -1})
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	return d
}

// TestCollectionBeforePin: a collection that runs between the commit of a file
// and its pin does not take it.
func TestCollectionBeforePin(t *testing.T) {
	for name, size := range map[string]int{"one leaf": 100, "several leaves": 3<<20 + 7} {
		t.Run(name, func(t *testing.T) {
			d, content := openDisk(t), random(1, size)
			o := newOrigin(t, map[string]*served{"/f": {content: content}})
			collected := 0
			e := newEngine(t, ingest.Config{Store: d, OnStored: func(ctx context.Context, _ dag.File, _ bool) {
				collected++
				if _, err := d.Collect(ctx, dag.Links); err != nil {
					t.Errorf("collect: %v", err)
				}
			}})
			fetch(t, e, d, o.ref("/f"), content)
			if collected != 1 {
				t.Errorf("%d collections, want 1", collected)
			}
			// Nor after it, and all of it once nobody wants it.
			if _, err := d.Collect(t.Context(), dag.Links); err != nil {
				t.Fatal(err)
			}
			got := fetch(t, e, d, o.ref("/f"), content)
			must(t, d.Unpin(t.Context(), got.File.Root, ""))
			if _, err := d.Collect(t.Context(), dag.Links); err != nil {
				t.Fatal(err)
			}
			checkNothing(t, d, content)
		})
	}
}

// TestCollectionBeforeTheSecondPin: of two who share a download, one is done
// with it when the collection runs, and the other has not pinned it yet.
func TestCollectionBeforeTheSecondPin(t *testing.T) {
	d, content := openDisk(t), random(1, 3<<20)
	f := &served{content: content, hold: make(chan struct{}), reached: make(chan struct{})}
	o := newOrigin(t, map[string]*served{"/f": f})
	e := newEngine(t, ingest.Config{Store: d})
	it := item(t, e, o.checked("/f", content))

	first := make(chan error, 1)
	go func() {
		_, err := e.Fetch(t.Context(), it, ingest.Options{NoPin: true, Access: connectors.Access{Operator: true}})
		first <- err
	}()
	<-f.reached
	joined, brought, proceed := make(chan struct{}), make(chan struct{}), make(chan struct{})
	second := make(chan error, 1)
	var got ingest.Fetched
	go func() {
		var seen, done bool
		var err error
		got, err = e.Fetch(t.Context(), it, ingest.Options{Access: connectors.Access{Operator: true}, Progress: func(p ingest.Progress) {
			if !seen {
				seen = true
				close(joined)
			}
			if p.Done == int64(len(content)) && !done {
				done = true
				close(brought)
				<-proceed
			}
		}})
		second <- err
	}()
	until(t, "the second joined", func() bool { calls, _ := e.Waiting(); return calls == 2 })
	close(f.hold)
	must(t, <-first)
	<-joined
	<-brought
	if _, err := d.Collect(t.Context(), dag.Links); err != nil {
		t.Error(err)
	}
	close(proceed)
	must(t, <-second)
	checkStored(t, d, got.File, content)
	if o.requests.Load() != 1 {
		t.Errorf("%d requests, want 1", o.requests.Load())
	}
}
