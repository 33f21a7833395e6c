package httpconn_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
)

// signing returns a signer that marks each request with a number and with what
// it saw of the request.
func signing() (sign httpconn.Sign, count *atomic.Int64) {
	count = new(atomic.Int64)
	return func(r *http.Request) error {
		r.Header.Set("Authorization", fmt.Sprintf("%d of %s%s", count.Add(1), r.URL.Path, r.Header.Get("Range")))
		return nil
	}, count
}

// TestSign: every attempt has a signature of its own, made when the request is
// complete, and what lacks is asked for with If-Match.
func TestSign(t *testing.T) {
	content := bytes.Repeat([]byte("signed "), 1000)
	base, log := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v1"`)
		if n > 0 {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
			return
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = w.Write(content[:3000])
		cut(w)
	})
	sign, _ := signing()
	got, _, err := read(t.Context(), newClient(t, httpconn.Config{}), httpconn.Target{URL: base + "/k", Sign: sign, IfMatch: true}, 0, -1)
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	all := log.list()
	if len(all) != 2 {
		t.Fatalf("%d requests, want 2", len(all))
	}
	if a, b := all[0].Header.Get("Authorization"), all[1].Header.Get("Authorization"); a != "1 of /k" || b != "2 of /k"+all[1].Header.Get("Range") {
		t.Errorf("signed %q, then %q", a, b)
	}
	if all[1].Header.Get("If-Match") != `"v1"` || all[1].Header.Get("If-Range") != "" || !strings.HasPrefix(all[1].Header.Get("Range"), "bytes=") {
		t.Errorf("the rest was asked for with %v", all[1].Header)
	}
}

// TestIfMatchChanged: 412 ends a content whose beginning was handed out.
func TestIfMatchChanged(t *testing.T) {
	base, log := serve(t, func(n int, w http.ResponseWriter, _ *http.Request) {
		if n > 0 {
			w.WriteHeader(http.StatusPreconditionFailed)
			return
		}
		w.Header().Set("ETag", `"v1"`)
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write(make([]byte, 50))
		cut(w)
	})
	_, _, err := read(t.Context(), newClient(t, httpconn.Config{}), httpconn.Target{URL: base, IfMatch: true}, 0, -1)
	if !errors.Is(err, connectors.ErrUpstream) || !strings.Contains(err.Error(), "changed") || log.count() != 2 {
		t.Errorf("%v after %d requests", err, log.count())
	}
}

// TestSignedRedirect: a signed request goes to one address.
func TestSignedRedirect(t *testing.T) {
	elsewhere, stolen := serve(t, func(int, http.ResponseWriter, *http.Request) {})
	base, log := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere, http.StatusTemporaryRedirect)
	})
	sign, count := signing()
	c := newClient(t, httpconn.Config{})
	_, _, err := read(t.Context(), c, httpconn.Target{URL: base, Sign: sign}, 0, -1)
	if ce, ok := errors.AsType[*connectors.Error](err); !ok || ce.Status != http.StatusTemporaryRedirect {
		t.Errorf("got %v", err)
	}
	if count.Load() != 1 || log.count() != 1 || stolen.count() != 0 {
		t.Errorf("%d signatures, %d requests here and %d there", count.Load(), log.count(), stolen.count())
	}
}

// TestUnsigned: a request that can't be signed is not sent, and not tried again.
func TestUnsigned(t *testing.T) {
	base, log := serve(t, func(int, http.ResponseWriter, *http.Request) {})
	tries := 0
	sign := func(*http.Request) error {
		tries++
		return fmt.Errorf("%w: no credentials", connectors.ErrUnauthorized)
	}
	_, _, err := read(t.Context(), newClient(t, httpconn.Config{}), httpconn.Target{URL: base, Sign: sign}, 0, -1)
	if !errors.Is(err, connectors.ErrUnauthorized) || tries != 1 || log.count() != 0 {
		t.Errorf("%v after %d tries and %d requests", err, tries, log.count())
	}
}

// TestFanSigned: over several connections, too, each request has a signature of its
// own and asks with If-Match for the version that the first answer told.
func TestFanSigned(t *testing.T) {
	o := newSlow()
	sign, _ := signing()
	bubble(t, httpconn.Config{}, func(_ int, w http.ResponseWriter, r *http.Request) { o.serve(w, r) },
		func(t *testing.T, c *httpconn.Client, log *requests) {
			if n, err := follow(t.Context(), c, httpconn.Target{URL: origin, Sign: sign, IfMatch: true}, 0, -1, o.content); err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
			if _, most, _ := o.counts(); most < 4 {
				t.Errorf("%d connections at once", most)
			}
			seen := map[string]bool{}
			for i, r := range log.list() {
				auth, span, match := r.Header.Get("Authorization"), r.Header.Get("Range"), r.Header.Get("If-Match")
				if seen[auth] || !strings.HasSuffix(auth, " of /file"+span) || i > 0 && match != `"v1"` || r.Header.Get("If-Range") != "" {
					t.Errorf("%s is asked for with %q, if it is %q", span, auth, match)
				}
				seen[auth] = true
			}
		})
}
