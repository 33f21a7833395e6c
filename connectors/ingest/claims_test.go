package ingest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/ingest"
)

// TestClaims: what an origin says of the whole content, before it or behind it, is
// held against the content. What is said of something else proves nothing.
func TestClaims(t *testing.T) {
	content := random(3, 2<<20+5)
	right, other := sha256.Sum256(content), sha256.Sum256([]byte("other"))
	b64 := func(sum [32]byte) string { return base64.StdEncoding.EncodeToString(sum[:]) }
	repr := func(sum [32]byte) string { return "sha-256=:" + b64(sum) + ":" }
	const unframed = "no end"
	tests := []struct {
		name           string
		field, value   string
		behind, untold bool // the field comes behind the content; and nobody was told of it
		verified       bool
		wrong          bool
	}{
		{name: "nothing"},
		{name: "Repr-Digest", field: "Repr-Digest", value: repr(right), verified: true},
		{name: "wrong Repr-Digest", field: "Repr-Digest", value: repr(other), wrong: true},
		{name: "Repr-Digest behind it", field: "Repr-Digest", value: repr(right), behind: true, verified: true},
		{name: "wrong Repr-Digest behind it", field: "Repr-Digest", value: repr(other), behind: true, wrong: true},
		{name: "wrong Repr-Digest behind it, by surprise", field: "Repr-Digest", value: repr(other), behind: true, untold: true, wrong: true},
		{name: "nonsense behind it", field: "Repr-Digest", value: "sha-256=:!:", behind: true},
		{name: "Digest", field: "Digest", value: "SHA-256=" + b64(right), verified: true},
		{name: "wrong Digest", field: "Digest", value: "SHA-256=" + b64(other), wrong: true},
		{name: "Artifactory's", field: "X-Checksum-Sha256", value: hex.EncodeToString(right[:]), verified: true},
		{name: "Artifactory's, wrong", field: "X-Checksum-Sha256", value: hex.EncodeToString(other[:]), wrong: true},
		{name: "S3's", field: "X-Amz-Checksum-Sha256", value: b64(right), verified: true},
		{name: "S3's, wrong", field: "X-Amz-Checksum-Sha256", value: b64(other), wrong: true},
		{name: "S3's, of its parts' digests", field: "X-Amz-Checksum-Sha256", value: b64(other) + "-2"},
		{name: "of this message alone", field: "Content-Digest", value: repr(other)},
		{name: "md5, which proves nothing", field: "Content-Md5", value: "AAAAAAAAAAAAAAAAAAAAAA=="},
		{name: "an entity tag that looks like a digest", field: "Etag", value: `"` + hex.EncodeToString(other[:]) + `"`},
		{name: "Google's", field: "X-Goog-Hash", value: "crc32c=AAAAAA==, md5=AAAAAAAAAAAAAAAAAAAAAA=="},
		{name: unframed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				switch {
				case tt.name == unframed:
					conn, _, err := http.NewResponseController(w).Hijack()
					if err == nil {
						_, _ = fmt.Fprintf(conn, "HTTP/1.0 200 OK\r\n\r\n%s", content)
						_ = conn.Close()
					}
					return
				case tt.untold:
					defer w.Header().Set(http.TrailerPrefix+tt.field, tt.value)
				case tt.behind:
					w.Header().Set("Trailer", tt.field)
					defer w.Header().Set(tt.field, tt.value)
				case tt.field != "":
					w.Header().Set(tt.field, tt.value)
				}
				_, _ = w.Write(content)
			}))
			defer server.Close()
			s := blockstore.NewMemory()
			e := newEngine(t, ingest.Config{Store: s})
			it := item(t, e, connectors.Ref{Type: connectors.TypeURI, Value: server.URL + "/f.bin"})
			got, err := e.Fetch(t.Context(), it, ingest.Options{})
			if tt.wrong {
				if !errors.Is(err, connectors.ErrMismatch) {
					t.Errorf("%+v, %v, want ErrMismatch", got, err)
				}
				checkNothing(t, s, content, it.Key)
				return
			}
			must(t, err)
			checkStored(t, s, got.File, content)
			if got.Verified != tt.verified {
				t.Errorf("verified: %v, want %v", got.Verified, tt.verified)
			}
		})
	}
}

// TestLateIdentity: what an origin says of an identity only when it is opened finds
// the content under it, without reading it, and the content is found by it later.
func TestLateIdentity(t *testing.T) {
	eachStore(t, func(t *testing.T, s blockstore.Store) {
		content, e := random(4, 2<<20), newEngine(t, ingest.Config{Store: s})
		read := 0
		of := func(key string, pinned bool) connectors.Item {
			return connectors.Item{
				Path: "f", URL: "test:" + key, Key: key, Pinned: pinned, Size: -1,
				Open: func(context.Context, int64, int64, []byte) (*connectors.Body, error) {
					b := bytes.NewReader(content)
					r := readFunc(func(p []byte) (int, error) { n, err := b.Read(p); read += n; return n, err })
					return &connectors.Body{
						ReadCloser: io.NopCloser(r), Size: int64(len(content)), Key: "place#etag=1", Revision: "v7", Meta: []byte(`{"etag":"1"}`),
					}, nil
				},
			}
		}
		for _, tt := range []struct {
			key    string
			pinned bool
			from   ingest.From
		}{{"place", false, ingest.FromOrigin}, {"place#etag=1", true, ingest.FromStore}, {"elsewhere", false, ingest.FromStore}} {
			got, err := e.Fetch(t.Context(), of(tt.key, tt.pinned), ingest.Options{})
			must(t, err)
			checkStored(t, s, got.File, content)
			if got.From != tt.from || got.Revision != "v7" || got.Verified {
				t.Errorf("%s: %+v, want it from the %s", tt.key, got, tt.from)
			}
		}
		if read != len(content) {
			t.Errorf("%d bytes were read, want %d", read, len(content))
		}
	})
}

// readFunc is a reader.
type readFunc func(p []byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }
