package ingest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/ingest"
)

// TestBrokenBody holds that a body that breaks, at any length and whatever its
// error wraps, is not taken for one that ended.
func TestBrokenBody(t *testing.T) {
	own := errors.New("own error")
	for name, tc := range map[string]struct {
		err  error
		size int // announced beyond what is sent; -1: nothing is announced
		want error
	}{
		"short":                  {io.EOF, 1, connectors.ErrUpstream},
		"long":                   {io.EOF, -2, connectors.ErrMismatch}, // announced one byte less
		"error":                  {own, -1, own},
		"error where it ends":    {own, 0, own},
		"unexpected end":         {io.ErrUnexpectedEOF, -1, io.ErrUnexpectedEOF},
		"unexpected end, sized":  {io.ErrUnexpectedEOF, 1, io.ErrUnexpectedEOF},
		"wraps unexpected end":   {&connectors.Error{Op: "read", Err: fmt.Errorf("%w: %w", connectors.ErrUpstream, io.ErrUnexpectedEOF)}, -1, connectors.ErrUpstream},
		"wraps an end":           {fmt.Errorf("wrapped: %w", io.EOF), -1, io.EOF},
		"cancelled by the other": {context.Canceled, -1, context.Canceled},
	} {
		for _, n := range []int{1, 1000, 1 << 20, 1<<20 + 1, 3 << 20} {
			t.Run(fmt.Sprintf("%s after %d", name, n), func(t *testing.T) {
				s, content, tee := blockstore.NewMemory(), random(1, n), &memFile{}
				e := newEngine(t, ingest.Config{Store: s})
				it := bodyItem(content, tc.err)
				it.Key, it.Pinned = "hf:x@1/f", true
				switch {
				case tc.size >= 0:
					it.Size = int64(n + tc.size)
				case tc.size == -2:
					it.Size = int64(n - 1)
				}
				got, err := e.Fetch(t.Context(), it, ingest.Options{Tee: tee})
				if !errors.Is(err, tc.want) || got.Teed {
					t.Errorf("%+v, %v, want %v", got, err, tc.want)
				}
				checkNothing(t, s, content, it.Key)
			})
		}
	}
}

// endless is a body that never ends.
type endless struct{ read int64 }

func (e *endless) Read(p []byte) (int, error) {
	e.read += int64(len(p))
	return len(p), nil
}

func (*endless) Close() error { return nil }

// TestEndless holds that a body of known size is not read much beyond it.
func TestEndless(t *testing.T) {
	for _, size := range []int64{0, 1, 1 << 20, 1<<20 + 1, 5 << 20} {
		for _, inBody := range []bool{false, true} {
			s, body := blockstore.NewMemory(), &endless{}
			e := newEngine(t, ingest.Config{Store: s})
			it := connectors.Item{Path: "f", Size: size, Open: func(context.Context, int64, int64, []byte) (*connectors.Body, error) {
				b := &connectors.Body{ReadCloser: body, Size: -1}
				if inBody {
					b.Size = size
				}
				return b, nil
			}}
			if inBody {
				it.Size = -1
			}
			if _, err := e.Fetch(t.Context(), it, ingest.Options{}); !errors.Is(err, connectors.ErrMismatch) {
				t.Errorf("%d bytes: %v, want ErrMismatch", size, err)
			}
			if body.read > size+4<<20 {
				t.Errorf("%d bytes: %d were read", size, body.read)
			}
			checkNothing(t, s, make([]byte, size))
		}
	}
}

// TestUnframed holds that content whose end can't be known is stored but not
// remembered by its URL, unless a digest says that it is whole.
func TestUnframed(t *testing.T) {
	content := random(1, 2<<20)
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 4096)
			if _, err := c.Read(buf); err == nil {
				fmt.Fprint(c, "HTTP/1.0 200 OK\r\nETag: \"1\"\r\n\r\n")
				c.Write(content)
			}
			c.Close()
		}
	}()
	defer func() { l.Close(); <-done }()
	o := &origin{Server: &httptest.Server{URL: "http://" + l.Addr().String()}}
	for _, known := range []bool{false, true} {
		s := blockstore.NewMemory()
		e := newEngine(t, ingest.Config{Store: s})
		ref := o.ref("/f")
		if known {
			ref = o.checked("/f", content)
		}
		got := fetch(t, e, s, ref, content)
		_, err := s.Alias(t.Context(), urlKey(t, e, ref))
		if got.Verified != known || (err == nil) != known {
			t.Errorf("digest known: %v; verified: %v, alias: %v", known, got.Verified, err)
		}
	}
}

// TestTeeFails holds that a tee that fails costs nobody the content.
func TestTeeFails(t *testing.T) {
	for _, n := range []int{1000, 3 << 20} {
		s, content := blockstore.NewMemory(), random(1, n)
		e := newEngine(t, ingest.Config{Store: s})
		got, err := e.Fetch(t.Context(), bodyItem(content, nil), ingest.Options{Tee: &memFile{fail: errors.New("disk is full")}})
		must(t, err)
		checkStored(t, s, got.File, content)
		if got.Teed || got.From != ingest.FromOrigin {
			t.Errorf("%+v", got)
		}
	}
}

// TestErrorsPass holds that what a connector says reaches the caller.
func TestErrorsPass(t *testing.T) {
	e := newEngine(t, ingest.Config{Store: blockstore.NewMemory()})
	refused := &connectors.Error{Op: "open", Source: "x", Status: 401, Hint: "log in", Err: connectors.ErrUnauthorized}
	it := connectors.Item{Path: "f", Size: -1, Key: "url:x", Open: func(context.Context, int64, int64, []byte) (*connectors.Body, error) {
		return nil, refused
	}}
	var got *connectors.Error
	_, err := e.Fetch(t.Context(), it, ingest.Options{})
	if !errors.As(err, &got) || got.Hint != "log in" || !errors.Is(err, connectors.ErrUnauthorized) || !strings.Contains(err.Error(), `"f"`) {
		t.Errorf("%v, want the connector's error", err)
	}
	it.Open = func(context.Context, int64, int64, []byte) (*connectors.Body, error) {
		return nil, connectors.ErrNotModified
	}
	if _, err := e.Fetch(t.Context(), it, ingest.Options{}); !errors.Is(err, connectors.ErrUpstream) {
		t.Errorf("not modified, unasked: %v, want ErrUpstream", err)
	}
	it.Open = func(context.Context, int64, int64, []byte) (*connectors.Body, error) {
		return &connectors.Body{ReadCloser: io.NopCloser(bytes.NewReader(nil)), Size: -1, Meta: []byte("no JSON")}, nil
	}
	if _, err := e.Fetch(t.Context(), it, ingest.Options{}); err == nil {
		t.Error("a validator that is no JSON was recorded")
	}
}
