package hf_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/hf"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// xetModel is a model with a file of several xorbs.
func xetModel() map[string]hubtest.Content {
	return map[string]hubtest.Content{"model.safetensors": hubtest.Random(21, 1_200_007)}
}

// xetItem returns the file of a hub that offers it by Xet.
func xetItem(t *testing.T, hub *hubtest.Hub, transport string) connectors.Item {
	t.Helper()
	client := httpconn.NewClient(httpconn.Config{Delay: time.Millisecond, Stall: time.Second})
	t.Cleanup(client.Close)
	items, err := collect(t, hf.New(hf.Config{Endpoint: hub.URL, Client: client, Transport: transport, Token: "hub-token"}), named("model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	return items[0]
}

// xetHub starts a hub that offers its files by Xet.
func xetHub(t *testing.T, cfg hubtest.Config) *hubtest.Hub {
	t.Helper()
	cfg.Xet = true
	cfg.Tokens = map[string]hubtest.User{"hub-token": {Name: "reader"}}
	cfg.Repos = []hubtest.Repo{{ID: "owner/name", Files: xetModel()}}
	return start(t, cfg)
}

// readVia reads an item from an offset, and returns which transports brought it.
func readVia(t *testing.T, it connectors.Item, off int64) ([]byte, string, error) {
	t.Helper()
	body, err := it.Open(t.Context(), off, -1, nil)
	if err != nil {
		return nil, "", err
	}
	b, err := io.ReadAll(body)
	via := ""
	total := int64(0)
	for _, name := range []string{"http", "xet"} {
		if n := body.Via()[name]; n > 0 {
			via += " " + name
			total += n
		}
	}
	if err == nil && total != int64(len(b)) {
		t.Errorf("transports brought %d of %d bytes", total, len(b))
	}
	return b, strings.TrimSpace(via), errors.Join(err, body.Close())
}

// TestTransports: whatever happens to one transport, the other one brings the rest.
func TestTransports(t *testing.T) {
	bridge := func(f hubtest.Fault) hubtest.Fault { f.CDN, f.Path = true, "xet-bridge-us"; return f }
	xorbs := func(f hubtest.Fault) hubtest.Fault { f.CDN, f.Path = true, "/xorbs/"; return f }
	cas := func(f hubtest.Fault) hubtest.Fault { f.CAS = true; return f }
	tests := []struct {
		name      string
		transport string
		v1        bool
		faults    []hubtest.Fault
		via       string
	}{
		{"nothing", hf.TransportAuto, false, nil, "http"},
		{"nothing, http alone", hf.TransportHTTP, false, nil, "http"},
		{"nothing, xet first", hf.TransportXet, false, nil, "xet"},
		{"nothing, xet first, version 1", hf.TransportXet, true, nil, "xet"},

		{"the bridge refuses", hf.TransportAuto, false, []hubtest.Fault{bridge(hubtest.Fault{Status: 403})}, "xet"},
		{"the bridge is down", hf.TransportAuto, false, []hubtest.Fault{bridge(hubtest.Fault{Status: 503})}, "xet"},
		{"the bridge asks to wait", hf.TransportAuto, false, []hubtest.Fault{bridge(hubtest.Fault{Status: 429, RetryAfter: "120"})}, "xet"},
		{"the bridge breaks in the middle", hf.TransportAuto, false, []hubtest.Fault{bridge(hubtest.Fault{Cut: true, At: 3e5})}, "http xet"},
		{"the bridge stalls in the middle", hf.TransportAuto, false, []hubtest.Fault{bridge(hubtest.Fault{Stall: true, At: 3e5})}, "http xet"},
		{"the bridge breaks in the middle, version 1", hf.TransportAuto, true, []hubtest.Fault{bridge(hubtest.Fault{Cut: true, At: 3e5})}, "http xet"},
		{"the bridge breaks once", hf.TransportAuto, false, []hubtest.Fault{bridge(hubtest.Fault{Cut: true, At: 3e5, Times: 1})}, "http"},

		{"the token is refused", hf.TransportXet, false, []hubtest.Fault{{Path: "xet-read-token", Status: 403}}, "http"},
		{"there are no tokens", hf.TransportXet, false, []hubtest.Fault{{Path: "xet-read-token", Status: 500}}, "http"},
		{"the storage refuses the token once", hf.TransportXet, false, []hubtest.Fault{cas(hubtest.Fault{Status: 401, Times: 1})}, "xet"},
		{"the storage refuses every token", hf.TransportXet, false, []hubtest.Fault{cas(hubtest.Fault{Status: 401})}, "http"},
		{"the storage is down", hf.TransportXet, false, []hubtest.Fault{cas(hubtest.Fault{Status: 502})}, "http"},
		{"the storage is down once", hf.TransportXet, false, []hubtest.Fault{cas(hubtest.Fault{Status: 502, Times: 1})}, "xet"},
		{"the storage lacks the file", hf.TransportXet, false, []hubtest.Fault{cas(hubtest.Fault{Status: 404})}, "http"},
		{"a signed URL is refused once", hf.TransportXet, false, []hubtest.Fault{xorbs(hubtest.Fault{Status: 403, Times: 1})}, "xet"},
		{"every signed URL is refused", hf.TransportXet, false, []hubtest.Fault{xorbs(hubtest.Fault{Status: 403})}, "http"},
		{"xorbs break at once", hf.TransportXet, false, []hubtest.Fault{xorbs(hubtest.Fault{Cut: true})}, "http"},
		{"xorbs break in the middle", hf.TransportXet, true, []hubtest.Fault{xorbs(hubtest.Fault{Cut: true, At: 2e5})}, "http xet"},
		{"xorbs stall in the middle", hf.TransportXet, true, []hubtest.Fault{xorbs(hubtest.Fault{Stall: true, At: 2e5})}, "http xet"},
		{"a chunk's header is broken", hf.TransportXet, true, []hubtest.Fault{xorbs(hubtest.Fault{Corrupt: true})}, "http"},
		{"a boundary is broken", hf.TransportXet, false, []hubtest.Fault{xorbs(hubtest.Fault{Corrupt: true, At: 4})}, "http"},

		{"there and back", hf.TransportAuto, true, []hubtest.Fault{
			bridge(hubtest.Fault{Cut: true, At: 5e4, Times: 2}), xorbs(hubtest.Fault{Cut: true, At: 2e5}),
		}, "http xet"},
		{"there and back from xet", hf.TransportXet, true, []hubtest.Fault{
			xorbs(hubtest.Fault{Cut: true, At: 2e5}), bridge(hubtest.Fault{Cut: true, At: 7e5}),
		}, "http xet"},
	}
	want := bytesOf(t, xetModel()["model.safetensors"])
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			hub := xetHub(t, hubtest.Config{XetV1: tt.v1})
			it := xetItem(t, hub, tt.transport)
			for _, f := range tt.faults {
				hub.Plant(f)
			}
			offsets := []int64{0, 1, 1_199_999}
			if strings.Contains(tt.name, "stall") {
				offsets = offsets[:1] // each takes its time
			}
			for _, off := range offsets {
				got, via, err := readVia(t, it, off)
				if err != nil || !bytes.Equal(got, want[off:]) {
					t.Fatalf("from byte %d: %d bytes over %s, %v", off, len(got), via, err)
				}
				if off == 0 && via != tt.via {
					t.Errorf("it came over %s, want %s", via, tt.via)
				}
			}
			checkCredentials(t, hub)
		})
	}
}

// checkCredentials: each origin gets the credential that is its own, or none.
func checkCredentials(t *testing.T, hub *hubtest.Hub) {
	t.Helper()
	for _, r := range hub.Requests() {
		auth := r.Header.Get("Authorization")
		switch {
		case r.CDN && auth != "",
			r.CAS && !strings.HasPrefix(auth, "Bearer xet_"),
			!r.CDN && !r.CAS && auth != "Bearer hub-token":
			t.Errorf("%s %s (cdn %t, cas %t) came with %q", r.Method, r.Path, r.CDN, r.CAS, auth)
		}
	}
}

// TestBothTransportsFail: the error names both, and is of the kind that the hub's is.
func TestBothTransportsFail(t *testing.T) {
	for _, transport := range []string{hf.TransportAuto, hf.TransportXet} {
		hub := xetHub(t, hubtest.Config{})
		it := xetItem(t, hub, transport)
		hub.Plant(hubtest.Fault{CDN: true, Path: "xet-bridge-us", Status: http.StatusForbidden})
		hub.Plant(hubtest.Fault{CAS: true, Status: http.StatusBadGateway})
		_, _, err := readVia(t, it, 0)
		if !errors.Is(err, connectors.ErrUpstream) || !strings.Contains(err.Error(), "over http: ") || !strings.Contains(err.Error(), "; over xet: ") {
			t.Errorf("%s: %v", transport, err)
		}
		if strings.Contains(err.Error(), "hub-token") || strings.Contains(err.Error(), "xet_") {
			t.Errorf("%s tells a secret: %v", transport, err)
		}
	}
}

// TestXetRefusedFile: what the hub itself refuses is asked for on no other way.
func TestXetRefusedFile(t *testing.T) {
	hub := xetHub(t, hubtest.Config{})
	it := xetItem(t, hub, hf.TransportAuto)
	hub.ResetRequests()
	hub.Plant(hubtest.Fault{Path: "/resolve/", Status: http.StatusForbidden, Code: "GatedRepo"})
	if _, _, err := readVia(t, it, 0); !errors.Is(err, connectors.ErrUnauthorized) || strings.Contains(err.Error(), "xet") {
		t.Errorf("gated: %v", err)
	}
	if n := len(hub.Requests()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

// TestXetRequests: what a file costs over Xet, and that a token is used again.
func TestXetRequests(t *testing.T) {
	hub := xetHub(t, hubtest.Config{})
	it := xetItem(t, hub, hf.TransportXet)
	hub.ResetRequests()
	for range 2 {
		if _, via, err := readVia(t, it, 0); err != nil || via != "xet" {
			t.Fatalf("over %s: %v", via, err)
		}
	}
	var tokens, cas, whole int
	for _, r := range hub.Requests() {
		switch {
		case strings.Contains(r.Path, "xet-read-token"):
			tokens++
		case r.CAS:
			cas++
		case strings.Contains(r.Header.Get("Range"), ","):
			whole++
		}
	}
	if tokens != 1 || cas != 2 || whole == 0 {
		t.Errorf("%d tokens, %d reconstructions, %d requests for several ranges; want 1, 2 and some", tokens, cas, whole)
	}
}

// TestXetTimes: tokens and URLs that have expired are asked for again.
func TestXetTimes(t *testing.T) {
	var hours atomic.Int64
	hub := xetHub(t, hubtest.Config{XetV1: true, Now: func() time.Time { return time.Now().Add(time.Duration(hours.Load()) * time.Hour) }})
	it := xetItem(t, hub, hf.TransportXet)
	body, err := it.Open(t.Context(), 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if _, err := io.CopyN(&got, body, 1000); err != nil {
		t.Fatal(err)
	}
	hours.Store(2) // the token is over, too, by the storage's clock
	if _, err := got.ReadFrom(body); err != nil || body.Via()["xet"] != int64(got.Len()) {
		t.Errorf("%v: %v", body.Via(), err)
	}
	if want := bytesOf(t, xetModel()["model.safetensors"]); !bytes.Equal(got.Bytes(), want) {
		t.Error("other bytes")
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
}
