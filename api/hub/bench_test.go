package hub_test

import (
	"io"
	"net/http"
	"testing"

	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// BenchmarkStored gets a stored file through the façade, and for comparison from
// the hub that stands behind it, which verifies nothing.
func BenchmarkStored(b *testing.B) {
	const size = 256 << 20
	r := start(b, nil)
	_, err := r.up.Commit("model/org/model", map[string]hubtest.Content{"big.bin": hubtest.Random(7, size)})
	must(b, err)
	for _, from := range []struct{ name, base string }{{"hub", r.up.URL}, {"façade", r.web.URL}} {
		b.Run(from.name, func(b *testing.B) {
			b.SetBytes(size)
			for range b.N {
				req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, from.base+"/org/model/resolve/main/big.bin", nil)
				must(b, err)
				resp, err := r.client.Do(req)
				must(b, err)
				n, err := io.Copy(io.Discard, resp.Body)
				must(b, err)
				must(b, resp.Body.Close())
				if n != size {
					b.Fatalf("%d bytes", n)
				}
			}
		})
	}
}
