package control

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"unsafe"
)

// inProcess sends one request to a handler through the local transport.
func inProcess(ctx context.Context, t *testing.T, body io.Reader, h http.HandlerFunc) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://hypha/x?y=z", body)
	if err != nil {
		t.Fatal(err)
	}
	return (&http.Client{Transport: local{h}}).Do(req)
}

// slices notes where the slices lie that it is handed.
type slices struct{ at []*byte }

func (s *slices) Write(b []byte) (int, error) {
	s.at = append(s.at, unsafe.SliceData(b))
	return len(b), nil
}

// TestLocalBody sends bodies of many shapes and reads them in all ways.
func TestLocalBody(t *testing.T) {
	pieces := [][]byte{[]byte("a"), {}, bytes.Repeat([]byte("b"), 5000), []byte("cc")}
	whole := bytes.Join(pieces, nil)
	handler := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/x" || r.URL.RawQuery != "y=z" {
			t.Errorf("request for %v", r.URL)
		}
		w.Header().Set("X-Test", "1")
		w.WriteHeader(http.StatusAccepted)
		w.WriteHeader(http.StatusTeapot) // ignored
		for _, p := range pieces {
			if n, err := w.Write(p); n != len(p) || err != nil {
				t.Errorf("Write(%d bytes) = %d, %v", len(p), n, err)
			}
		}
	}
	for name, read := range map[string]func(io.Reader) ([]byte, error){
		"ReadAll": io.ReadAll,
		"bytewise": func(r io.Reader) ([]byte, error) {
			var b bytes.Buffer
			_, err := io.CopyBuffer(struct{ io.Writer }{&b}, struct{ io.Reader }{r}, make([]byte, 1))
			return b.Bytes(), err
		},
		"WriteTo": func(r io.Reader) ([]byte, error) {
			var b bytes.Buffer
			_, err := io.Copy(struct{ io.Writer }{&b}, r)
			return b.Bytes(), err
		},
		"both": func(r io.Reader) ([]byte, error) {
			first := make([]byte, 3)
			if _, err := io.ReadFull(r, first); err != nil {
				return nil, err
			}
			var b bytes.Buffer
			_, err := io.Copy(struct{ io.Writer }{&b}, r)
			return append(first, b.Bytes()...), err
		},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := inProcess(t.Context(), t, nil, handler)
			if err != nil {
				t.Fatal(err)
			}
			got, err := read(resp.Body)
			if err != nil || !bytes.Equal(got, whole) {
				t.Errorf("%d bytes, %v; want %d", len(got), err, len(whole))
			}
			if resp.StatusCode != http.StatusAccepted || resp.Header.Get("X-Test") != "1" {
				t.Errorf("status %d, header %v", resp.StatusCode, resp.Header)
			}
			if err := resp.Body.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestLocalNoCopy makes sure that io.Copy sees the handler's own memory.
func TestLocalNoCopy(t *testing.T) {
	buffers := [][]byte{make([]byte, 1<<20), make([]byte, 10)}
	resp, err := inProcess(t.Context(), t, nil, func(w http.ResponseWriter, _ *http.Request) {
		for _, b := range buffers {
			if _, err := w.Write(b); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var seen slices
	if _, err := io.Copy(&seen, resp.Body); err != nil {
		t.Fatal(err)
	}
	if len(seen.at) != 2 || seen.at[0] != &buffers[0][0] || seen.at[1] != &buffers[1][0] {
		t.Error("what was written is not what the reader was handed")
	}
}

// TestLocalClose closes a body early: the handler's context ends, its Write
// fails, and it has returned when Close does.
func TestLocalClose(t *testing.T) {
	for name, read := range map[string]int{"unread": 0, "inside a slice": 3} {
		t.Run(name, func(t *testing.T) {
			returned := false
			resp, err := inProcess(t.Context(), t, nil, func(w http.ResponseWriter, r *http.Request) {
				defer func() { returned = true }()
				var err error
				for err == nil {
					_, err = w.Write([]byte("0123456789"))
				}
				if !errors.Is(err, errGone) {
					t.Errorf("Write: %v", err)
				}
				<-r.Context().Done()
			})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(resp.Body, make([]byte, read)); err != nil {
				t.Fatal(err)
			}
			if err := resp.Body.Close(); err != nil || !returned {
				t.Errorf("Close: %v, handler returned: %v", err, returned)
			}
		})
	}
}

// TestLocalWriterFails stops the handler when the destination fails.
func TestLocalWriterFails(t *testing.T) {
	full := errors.New("full")
	resp, err := inProcess(t.Context(), t, nil, func(w http.ResponseWriter, _ *http.Request) {
		if _, err := w.Write([]byte("x")); !errors.Is(err, full) {
			t.Errorf("Write: %v", err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(writerFunc(func([]byte) (int, error) { return 0, full }), resp.Body); !errors.Is(err, full) {
		t.Errorf("io.Copy: %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// TestLocalShort notices a body that is shorter than its header said.
func TestLocalShort(t *testing.T) {
	resp, err := inProcess(t.Context(), t, nil, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "10")
		if _, err := w.Write([]byte("only 5")[:5]); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) || len(got) != 5 {
		t.Errorf("%q, %v", got, err)
	}
}

// TestLocalTrailer hands trailers over at the end of the body.
func TestLocalTrailer(t *testing.T) {
	resp, err := inProcess(t.Context(), t, nil, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "Why")
		if _, err := w.Write([]byte("x")); err != nil {
			t.Error(err)
		}
		w.Header().Set("Why", "because")
	})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err != nil || resp.Trailer.Get("Why") != "because" {
		t.Errorf("%v, trailer %v", err, resp.Trailer)
	}
}

// TestLocalCancelled cancels before there is an answer, and within one.
func TestLocalCancelled(t *testing.T) {
	t.Run("before the answer", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		returned := false
		_, err := inProcess(ctx, t, nil, func(_ http.ResponseWriter, r *http.Request) { //nolint:bodyclose // there is none
			defer func() { returned = true }()
			cancel()
			<-r.Context().Done()
		})
		// The handler's return is an empty answer: either may win.
		if err != nil && !errors.Is(err, context.Canceled) || !returned {
			t.Errorf("%v, handler returned: %v", err, returned)
		}
	})
	t.Run("within", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		resp, err := inProcess(ctx, t, nil, func(w http.ResponseWriter, r *http.Request) {
			if _, err := w.Write([]byte("x")); err != nil {
				t.Error(err)
			}
			cancel()
			<-r.Context().Done()
		})
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got, err := io.ReadAll(resp.Body); !errors.Is(err, context.Canceled) {
			t.Errorf("%q, %v: a cancelled answer looks whole", got, err)
		}
	})
}

// TestLocalRequest streams the request's body to the handler and closes it.
func TestLocalRequest(t *testing.T) {
	sent := &closing{Reader: strings.NewReader("request")}
	resp, err := inProcess(t.Context(), t, sent, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(w, r.Body); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(resp.Body)
	if err = errors.Join(err, resp.Body.Close()); err != nil || string(got) != "request" || !sent.closed {
		t.Errorf("%q, %v, closed: %v", got, err, sent.closed)
	}
}

type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }
