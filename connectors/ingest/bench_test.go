package ingest_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// BenchmarkFetch takes 1 GiB from a server in this process into a store on disk
// and into a file beside it, with all hashes.
func BenchmarkFetch(b *testing.B) {
	const size = 1 << 30
	source := filepath.Join(b.TempDir(), "source")
	writeRandom(b, source, size)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, source)
	}))
	defer server.Close()
	conn := httpconn.New(httpconn.Config{})
	defer conn.Close()
	b.SetBytes(size)
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		tee, err := os.Create(filepath.Join(dir, "tee"))
		mustBench(b, err)
		store, err := blockstore.Open(b.Context(), filepath.Join(dir, "repo"), blockstore.Options{Reserve: -1})
		mustBench(b, err)
		e := ingest.New(ingest.Config{Store: store, Connectors: connectors.Set{conn}})
		b.StartTimer()
		ref := connectors.Ref{Type: connectors.TypeURI, Value: server.URL + "/f"}
		for it, err := range e.Resolve(b.Context(), ref, connectors.Access{Operator: true}) {
			mustBench(b, err)
			got, err := e.Fetch(b.Context(), it, ingest.Options{Tee: tee})
			mustBench(b, err)
			if !got.Teed || got.OriginBytes != size {
				b.Fatalf("%+v", got)
			}
		}
		b.StopTimer()
		mustBench(b, e.Close())
		mustBench(b, store.Close())
		mustBench(b, tee.Close())
		mustBench(b, os.RemoveAll(dir))
		b.StartTimer()
	}
}

func writeRandom(b *testing.B, name string, size int64) {
	b.Helper()
	f, err := os.Create(name)
	mustBench(b, err)
	r, err := hubtest.Random(1, size).Open()
	mustBench(b, err)
	_, err = io.Copy(f, r)
	mustBench(b, err)
	mustBench(b, f.Close())
}

func mustBench(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}
