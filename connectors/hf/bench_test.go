package hf_test

import (
	"io"
	"testing"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/hf"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// BenchmarkTransports reads a file of 64 MiB over each transport. The hub that
// serves it takes its share of the machine.
func BenchmarkTransports(b *testing.B) {
	const size = 64 << 20
	hub, err := hubtest.New(hubtest.Config{Xet: true, Repos: []hubtest.Repo{
		{ID: "owner/name", Files: map[string]hubtest.Content{"model.safetensors": hubtest.Random(22, size)}},
	}})
	if err == nil {
		err = hub.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	defer hub.Close()
	client := httpconn.NewClient(httpconn.Config{})
	defer client.Close()
	for _, transport := range []string{hf.TransportHTTP, hf.TransportXet} {
		conn := hf.New(hf.Config{Endpoint: hub.URL, Client: client, Transport: transport})
		var file connectors.Item
		for it, err := range conn.Items(b.Context(), named("model.safetensors"), operator) {
			if err != nil {
				b.Fatal(err)
			}
			file = it
		}
		body, err := file.Open(b.Context(), 0, 1, nil) // the hub packs the file now
		if err == nil {
			err = body.Close()
		}
		if err != nil {
			b.Fatal(err)
		}
		b.Run(transport, func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				body, err := file.Open(b.Context(), 0, -1, nil)
				if err != nil {
					b.Fatal(err)
				}
				n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{body}, make([]byte, 1<<20))
				if err != nil || n != size || body.Transport() != transport {
					b.Fatalf("%d bytes over %q: %v", n, body.Transport(), err)
				}
				if err := body.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
