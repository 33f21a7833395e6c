package ingest_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
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
