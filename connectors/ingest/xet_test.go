package ingest_test

import (
	"errors"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/hf"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// xetEngine starts a hub that offers its file by Xet, and returns an engine that
// reads it by the transport.
func xetEngine(t *testing.T, s blockstore.Store, transport string) (*hubtest.Hub, *ingest.Engine) {
	t.Helper()
	hub, err := hubtest.New(hubtest.Config{Xet: true, XetV1: true, Repos: []hubtest.Repo{
		{ID: "owner/name", Files: map[string]hubtest.Content{"model.bin": hubtest.Random(3, 2<<20+1)}},
	}})
	must(t, err)
	must(t, hub.Start())
	client := httpconn.NewClient(httpconn.Config{Delay: time.Millisecond})
	t.Cleanup(func() {
		client.Close()
		must(t, hub.Close())
	})
	conn := hf.New(hf.Config{Endpoint: hub.URL, Client: client, Transport: transport})
	return hub, newEngine(t, ingest.Config{Store: s, Connectors: connectors.Set{conn}})
}

// TestTransports: what is fetched tells how it came, and progress does.
func TestTransports(t *testing.T) {
	bridge := hubtest.Fault{CDN: true, Path: "xet-bridge-us", Cut: true, At: 1 << 20}
	for transport, want := range map[string]string{hf.TransportHTTP: "http", hf.TransportXet: "xet", hf.TransportAuto: "http+xet"} {
		hub, e := xetEngine(t, blockstore.NewMemory(), transport)
		if transport == hf.TransportAuto {
			hub.Plant(bridge)
		}
		ref, err := connectors.ParseURI("hf://owner/name/model.bin")
		must(t, err)
		for it, err := range e.Resolve(t.Context(), ref, connectors.Access{Operator: true}) {
			must(t, err)
			var last ingest.Progress
			got, err := e.Fetch(t.Context(), it, ingest.Options{Progress: func(p ingest.Progress) { last = p }})
			if err != nil || got.From != ingest.FromOrigin || got.Transport != want || last.Transport != want || got.OriginBytes != 2<<20+1 {
				t.Errorf("%s: %+v, progress %+v, %v; want it over %s", transport, got, last, err, want)
			}
			got, err = e.Fetch(t.Context(), it, ingest.Options{})
			if err != nil || got.From != ingest.FromStore || got.Transport != "" {
				t.Errorf("%s, again: %+v, %v", transport, got, err)
			}
		}
	}
}

// TestXetWrongBytes: chunks that can be decoded, but are not the file's, are no
// file: it is fetched again over HTTP, from wherever it went wrong. If that is wrong
// as well, the error tells so.
func TestXetWrongBytes(t *testing.T) {
	const size = 2<<20 + 1
	chunk := hubtest.Fault{CDN: true, Path: "/xorbs/", Corrupt: true, At: 100} // in a chunk that is not compressed
	bridge := func(f hubtest.Fault) hubtest.Fault { f.CDN, f.Path = true, "xet-bridge-us"; return f }
	for _, tt := range []struct {
		name, transport string
		faults          []hubtest.Fault
		wrong           bool
		bytes           int64 // at most, of the origin
	}{
		{"all of it", hf.TransportXet, []hubtest.Fault{chunk}, false, 2 * size},
		{"from the middle on", hf.TransportAuto, []hubtest.Fault{bridge(hubtest.Fault{Cut: true, At: 1e6, Times: 2}), {CDN: true, Path: "/xorbs/", Corrupt: true, At: 5e5}}, false, 2 * size},
		{"and over HTTP", hf.TransportXet, []hubtest.Fault{chunk, bridge(hubtest.Fault{Corrupt: true, At: 5})}, true, 0},
		{"over HTTP alone", hf.TransportHTTP, []hubtest.Fault{bridge(hubtest.Fault{Corrupt: true, At: 5})}, true, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := blockstore.NewMemory()
			hub, e := xetEngine(t, s, tt.transport)
			for _, f := range tt.faults {
				hub.Plant(f)
			}
			ref, err := connectors.ParseURI("hf://owner/name/model.bin")
			must(t, err)
			view := ingest.NewView()
			got, err := e.Fetch(t.Context(), item(t, e, ref), ingest.Options{Tee: &memFile{}, View: view})
			if tt.wrong {
				if !errors.Is(err, connectors.ErrMismatch) {
					t.Errorf("%+v, %v, want ErrMismatch", got, err)
				}
				checkNothing(t, s, contentBytes(t, hubtest.Random(3, size)))
				return
			}
			must(t, err)
			checkStored(t, s, got.File, contentBytes(t, hubtest.Random(3, size)))
			if got.Transport != "http" || got.Teed || !got.Verified || got.OriginBytes <= size || got.OriginBytes > tt.bytes {
				t.Errorf("%+v", got)
			}
		})
	}
}
