package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/ingest"
)

// watching is one Fetch whose content is looked at.
type watching struct {
	view *ingest.View
	stop context.CancelCauseFunc
	done chan struct{}
	got  ingest.Fetched
	err  error
}

func watch(t *testing.T, e *ingest.Engine, it connectors.Item) *watching {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	w := &watching{view: ingest.NewView(), stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.got, w.err = e.Fetch(ctx, it, ingest.Options{View: w.view})
	}()
	t.Cleanup(func() { cancel(nil); <-w.done })
	return w
}

// see reads n bytes from the beginning.
func (w *watching) see(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	for at := 0; at < n; {
		m, err := w.view.ReadAt(t.Context(), b[at:], int64(at))
		must(t, err)
		if m == 0 {
			t.Fatal("read nothing")
		}
		at += m
	}
	return b
}

// disk returns a store whose parts can be read.
func disk(t *testing.T) *blockstore.Disk {
	t.Helper()
	d, err := blockstore.Open(t.Context(), t.TempDir(), blockstore.Options{Reserve: -1})
	must(t, err)
	t.Cleanup(func() { must(t, d.Close()) })
	return d
}

// TestView holds that everybody who wants a content sees it while it comes,
// whoever began the download and whenever they came.
func TestView(t *testing.T) {
	for name, known := range map[string]bool{"size and digest known": true, "nothing known": false} {
		t.Run(name, func(t *testing.T) {
			content := random(1, 8<<20+1)
			f, release := held(content)
			defer release()
			o := newOrigin(t, map[string]*served{"/f": f})
			s := disk(t)
			e := newEngine(t, ingest.Config{Store: s})
			it := item(t, e, o.ref("/f"))
			if known {
				it = item(t, e, o.checked("/f", content))
			}
			blind := begin(t, e, it)
			<-f.reached
			half := 3 << 20 // the last MiB before the middle is not whole
			first, second := watch(t, e, it), watch(t, e, it)
			for _, w := range []*watching{first, second} {
				must(t, w.view.Began(t.Context()))
				if !bytes.Equal(w.see(t, half), content[:half]) {
					t.Error("the view shows something else")
				}
			}
			second.stop(errGaveUp)
			<-second.done
			release()
			<-first.done
			<-blind.done
			must(t, errors.Join(first.err, blind.err))
			checkStored(t, s, first.got.File, content)
			if !first.view.Same() {
				t.Error("what was seen is said to be of another content")
			}
			if _, err := first.view.ReadAt(t.Context(), make([]byte, 1), 0); !errors.Is(err, ingest.ErrEnded) {
				t.Errorf("ReadAt after the end: %v", err)
			}
			if n := o.requests.Load(); n != 1 {
				t.Errorf("%d requests, want 1", n)
			}
		})
	}
}

// TestViewWaits holds that a reader who waits is woken by the end of its context
// and by the end of the download, whatever that is.
func TestViewWaits(t *testing.T) {
	content := random(2, 4<<20)
	f, release := held(content)
	defer release()
	o := newOrigin(t, map[string]*served{"/f": f, "/absent": {status: 404}})
	e := newEngine(t, ingest.Config{Store: disk(t)})
	w := watch(t, e, item(t, e, o.ref("/f")))
	<-f.reached
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errGaveUp)
	if _, err := w.view.ReadAt(ctx, make([]byte, 1), 3<<20); !errors.Is(err, errGaveUp) {
		t.Errorf("ReadAt: %v", err)
	}
	seen := make(chan error, 1)
	go func() {
		_, err := w.view.ReadAt(t.Context(), make([]byte, 1), 3<<20)
		seen <- err
	}()
	w.stop(errGaveUp)
	if err := <-seen; !errors.Is(err, ingest.ErrEnded) {
		t.Errorf("ReadAt of a download that is given up: %v", err)
	}
	absent := watch(t, e, item(t, e, o.ref("/absent")))
	if err := absent.view.Began(t.Context()); !errors.Is(err, ingest.ErrEnded) {
		t.Errorf("Began of what is not there: %v", err)
	}
	<-absent.done
	if !errors.Is(absent.err, connectors.ErrNotFound) || !absent.view.Same() {
		t.Errorf("absent: %v", absent.err)
	}
}

// TestViewOfAnother holds that a reader can tell when what it saw came from a
// source that failed, though another one brought the content after all.
func TestViewOfAnother(t *testing.T) {
	content := random(3, 4<<20)
	wrong := append([]byte{content[0] ^ 1}, content[1:]...)
	bad, release := held(wrong)
	defer release()
	o := newOrigin(t, map[string]*served{"/bad": bad, "/good": {content: content, etag: `"1"`}})
	s := disk(t)
	e := newEngine(t, ingest.Config{Store: s})
	leader := begin(t, e, item(t, e, o.checked("/bad", content)))
	<-bad.reached
	w := watch(t, e, item(t, e, o.checked("/good", content)))
	if got := w.see(t, 1<<20); !bytes.Equal(got, wrong[:1<<20]) {
		t.Error("the view shows something else")
	}
	release()
	<-leader.done
	<-w.done
	if !errors.Is(leader.err, connectors.ErrMismatch) {
		t.Errorf("leader: %v", leader.err)
	}
	must(t, w.err)
	checkStored(t, s, w.got.File, content)
	if w.view.Same() {
		t.Error("wrong bytes are said to belong to the file")
	}
}

// TestFind holds that Find asks nobody and respects scopes.
func TestFind(t *testing.T) {
	content := random(4, 2<<20)
	o := newOrigin(t, map[string]*served{"/f": {content: content, token: "secret"}})
	s := disk(t)
	e := newEngine(t, ingest.Config{Store: s})
	ref := o.checked("/f", content)
	ref.Token = "secret"
	if _, ok, err := e.Find(t.Context(), item(t, e, ref)); ok || err != nil {
		t.Errorf("Find in an empty store: %v, %v", ok, err)
	}
	fetch(t, e, s, ref, content)
	requests, _ := o.counted(func() {
		if got, ok, err := e.Find(t.Context(), item(t, e, ref)); !ok || err != nil || got.From != ingest.FromStore || !got.Private {
			t.Errorf("Find: %+v, %v, %v", got, ok, err)
		}
		if _, ok, err := e.Find(t.Context(), item(t, e, o.checked("/f", content))); ok || err != nil {
			t.Errorf("Find without the token: %v, %v", ok, err)
		}
	})
	if requests != 0 {
		t.Errorf("%d requests", requests)
	}
}
