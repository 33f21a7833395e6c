package gateway_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestManyFiles: more clients than files that are read ahead get theirs, those that
// don't read hold up nobody, and what is broken off is let go of.
func TestManyFiles(t *testing.T) {
	r := newRig(t)
	server := httptest.NewServer(r.handler)
	defer server.Close()
	client := server.Client()
	defer client.CloseIdleConnections()
	var bodies []io.ReadCloser
	for range 40 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+r.path("/big.bin"), http.NoBody)
		must(t, err)
		req.Host = "127.0.0.1:8080"
		resp, err := client.Do(req) //nolint:bodyclose // below
		must(t, err)
		if resp.StatusCode != http.StatusOK || resp.ContentLength != int64(len(r.big)) {
			t.Errorf("status %d, %d bytes", resp.StatusCode, resp.ContentLength)
		}
		bodies = append(bodies, resp.Body)
	}
	for i, b := range bodies {
		if i%2 == 0 {
			must(t, b.Close()) // long before its end
			continue
		}
		got, err := io.ReadAll(b)
		must(t, err)
		if string(got) != r.big {
			t.Errorf("%d: %d bytes", i, len(got))
		}
		must(t, b.Close())
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+r.path("/big.bin"), http.NoBody)
	must(t, err)
	req.Host = "127.0.0.1:8080"
	req.Header.Set("Range", "bytes=-99999999") // more than there is: all of it
	resp, err := client.Do(req)
	must(t, err)
	got, err := io.ReadAll(resp.Body)
	must(t, err)
	must(t, resp.Body.Close())
	if resp.StatusCode != http.StatusPartialContent || string(got) != r.big {
		t.Errorf("a range that is longer than the file: status %d, %d bytes", resp.StatusCode, len(got))
	}
	for range 20 { // all can be had again
		if w := r.get(200, r.path("/big.bin")); w.Body.String() != r.big {
			t.Fatalf("%d bytes", w.Body.Len())
		}
	}
}
