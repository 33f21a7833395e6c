package httpconn_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
)

// TestPiecemeal: an origin that breaks after every 10,000 bytes is no obstacle,
// for each attempt makes progress.
func TestPiecemeal(t *testing.T) {
	b := content()
	base, log := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		start := rangeOf(r)
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Length", fmt.Sprint(len(b)-start))
		if start > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, len(b)-1, len(b)))
			w.WriteHeader(http.StatusPartialContent)
		}
		_, _ = w.Write(b[start:min(start+10_000, len(b))])
		if start+10_000 < len(b) {
			cut(w)
		}
	})
	c := newClient(t, httpconn.Config{Retries: 1})
	got, body, err := read(t.Context(), c, httpconn.Target{URL: base + "/x"}, 0, -1)
	if err != nil || !bytes.Equal(got, b) {
		t.Errorf("read gives %d bytes, %v", len(got), err)
	}
	if body == nil || body.Size != int64(len(b)) {
		t.Errorf("body is %+v", body)
	}
	if log.count() != 30 {
		t.Errorf("%d requests, want 30", log.count())
	}
}

// TestShortParts: an origin may send less than asked for; the rest is asked for
// at once.
func TestShortParts(t *testing.T) {
	b := content()
	base, log := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		start := rangeOf(r)
		end := min(start+100_000, len(b))
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start, end-1, len(b)))
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(b[start:end])
	})
	c := newClient(t, httpconn.Config{Retries: -1})
	got, _, err := read(t.Context(), c, httpconn.Target{URL: base + "/x"}, 50_000, -1)
	if err != nil || !bytes.Equal(got, b[50_000:]) {
		t.Errorf("read gives %d bytes, %v", len(got), err)
	}
	if log.count() != 3 {
		t.Errorf("%d requests, want 3", log.count())
	}
}

// TestNoProgress: attempts that bring nothing are counted.
func TestNoProgress(t *testing.T) {
	b := content()
	base, log := serve(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n == 0 {
			breaking(w, `"v1"`, b, 1000)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	c := newClient(t, httpconn.Config{Retries: 3})
	got, _, err := read(t.Context(), c, httpconn.Target{URL: base + "/x"}, 0, -1)
	ce, ok := errors.AsType[*connectors.Error](err)
	if !ok || !errors.Is(err, connectors.ErrUpstream) || ce.Status != http.StatusServiceUnavailable {
		t.Errorf("error is %v", err)
	}
	if !bytes.Equal(got, b[:1000]) {
		t.Errorf("%d bytes were read", len(got))
	}
	if want := 4; log.count() != want {
		t.Errorf("%d requests, want %d", log.count(), want)
	}
}

// TestEndless: a part of an endless body can be read, and leaving it ends it.
func TestEndless(t *testing.T) {
	gone := make(chan struct{})
	base, _ := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		defer close(gone)
		for {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	})
	c := newClient(t, httpconn.Config{})
	got, _, err := read(t.Context(), c, httpconn.Target{URL: base + "/x"}, 5, 100_000)
	if err != nil || len(got) != 100_000 {
		t.Fatalf("read gives %d bytes, %v", len(got), err)
	}
	<-gone
}

// TestUnframed: a body that ends with its connection is marked as such; one
// whose size is known beforehand is not taken for whole before it has it.
func TestUnframed(t *testing.T) {
	base, log := raw(t, func(n int, _ *http.Request, w io.Writer) {
		text := "0123456789"
		if n%2 == 0 {
			text = text[:4]
		}
		_, _ = io.WriteString(w, "HTTP/1.0 200 OK\r\nETag: \"v1\"\r\n\r\n"+text)
	})
	c := newClient(t, httpconn.Config{})
	got, body, err := read(t.Context(), c, httpconn.Target{URL: base + "/x"}, 0, -1)
	if err != nil || string(got) != "0123" || !body.Unframed || body.Size != -1 {
		t.Errorf("read gives %q, %+v, %v", got, body, err)
	}
	before := log.count()
	if before%2 == 1 {
		_, _, _ = read(t.Context(), c, httpconn.Target{URL: base + "/x"}, 0, -1) // to begin with a short answer again
	}
	got, body, err = read(t.Context(), c, httpconn.Target{URL: base + "/x", Size: 10}, 0, -1)
	if err != nil || string(got) != "0123456789" || body.Unframed {
		t.Errorf("read gives %q, %+v, %v", got, body, err)
	}
}

// TestChunked: a body in chunks tells its end, though not its length.
func TestChunked(t *testing.T) {
	base, _ := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		_ = http.NewResponseController(w).Flush()
		_, _ = w.Write([]byte("0123456789"))
	})
	got, body, err := read(t.Context(), newClient(t, httpconn.Config{}), httpconn.Target{URL: base}, 0, -1)
	if err != nil || string(got) != "0123456789" || body.Unframed || body.Size != -1 {
		t.Errorf("read gives %q, %+v, %v", got, body, err)
	}
}

// TestKnownSize: an answer of another size than the one known is refused.
func TestKnownSize(t *testing.T) {
	base, _ := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) { serveFrom(w, r, `"v1"`, content()) })
	c := newClient(t, httpconn.Config{})
	if got, _, err := read(t.Context(), c, httpconn.Target{URL: base + "/x", Size: 131}, 0, -1); err == nil || len(got) > 0 {
		t.Errorf("read gives %d bytes, %v", len(got), err)
	}
}

// TestCheck: the first bytes of a content may be judged before any is given out.
func TestCheck(t *testing.T) {
	b := content()
	base, _ := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) { serveFrom(w, r, `"v1"`, b) })
	c := newClient(t, httpconn.Config{})
	refused := errors.New("refused")
	var seen []byte
	check := func(head []byte) error { seen = bytes.Clone(head); return nil }
	got, _, err := read(t.Context(), c, httpconn.Target{URL: base + "/x", Check: check}, 0, -1)
	if err != nil || !bytes.Equal(got, b) || !bytes.Equal(seen, b[:64]) {
		t.Errorf("read gives %d bytes, %v; %d bytes were checked", len(got), err, len(seen))
	}
	if _, _, err := read(t.Context(), c, httpconn.Target{URL: base + "/x", Check: func([]byte) error { return refused }}, 0, -1); !errors.Is(err, refused) {
		t.Errorf("error is %v, want %v", err, refused)
	}
	seen = nil
	if got, _, err := read(t.Context(), c, httpconn.Target{URL: base + "/x", Check: check}, 1, 5); err != nil || !bytes.Equal(got, b[1:6]) || seen != nil {
		t.Errorf("a range gives %d bytes, %v", len(got), err)
	}
}
