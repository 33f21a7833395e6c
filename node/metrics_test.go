package node

import (
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/api/control"
)

// get returns what a URL answers.
func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	must(t, err)
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(req)
	must(t, err)
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	must(t, resp.Body.Close())
	return resp.StatusCode, string(text)
}

// TestMetrics: numbers of a node that does something, by names that stay; the
// profiler only for who asks for it.
func TestMetrics(t *testing.T) {
	ca := config(t, filepath.Join(shortDir(t), "a"))
	ca.Metrics, ca.Pprof = "127.0.0.1:0", true
	a, idA, stopA := run(t, ca)
	defer stopA()
	cb := config(t, filepath.Join(shortDir(t), "b"))
	cb.Metrics = "127.0.0.1:0"
	b, idB, stopB := run(t, cb)
	defer stopB()
	root := addText(t, a, strings.Repeat(hello, 500_000))
	_, err := b.Connect(t.Context(), control.ConnectRequest{Address: idA.Addresses[0]})
	must(t, err)
	for ev, err := range b.Fetch(t.Context(), control.FetchRequest{Refs: []json.RawMessage{json.RawMessage(`"ipfs://` + root + `"`)}}) {
		must(t, err)
		if ev.Item != nil && ev.Item.From != "peer" {
			t.Errorf("%+v", ev.Item)
		}
	}
	status, text := get(t, idB.Metrics)
	if status != http.StatusOK {
		t.Fatal(status, text)
	}
	for _, want := range []string{
		`hypha_node_info{version="1.2.3"} 1`,
		`hypha_ingest_files_total{from="peer"} 1`,
		`hypha_ingest_files_total{from="origin"} 0`,
		`hypha_ingest_bytes_total{from="peer"} 5.5e+06`,
		`hypha_ingest_failures_total 0`,
		`hypha_ingest_active_fetches 0`,
		`hypha_blockstore_files 1`,
		`hypha_bitswap_peers{direction="out"} 1`,
		`hypha_bitswap_peers{direction="in"} 0`,
		`hypha_jobs_jobs{state="running"} 0`,
	} {
		if !strings.Contains(text, "\n"+want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	if !regexp.MustCompile(`(?m)^hypha_bitswap_received_bytes_total [1-9]`).MatchString(text) || !strings.Contains(text, "\ngo_goroutines ") {
		t.Errorf("metrics are\n%s", text)
	}
	for line := range strings.SplitSeq(text, "\n") {
		if name, _, _ := strings.Cut(line, " "); strings.HasPrefix(name, "hypha_") && !regexp.MustCompile(`^hypha_[a-z]+_[a-z_]+(\{.*\})?$`).MatchString(name) {
			t.Errorf("name %s", name)
		}
	}
	for url, want := range map[string]int{
		strings.TrimSuffix(idA.Metrics, "/metrics") + "/debug/pprof/cmdline":           http.StatusNotFound,
		strings.TrimSuffix(idA.Metrics, "/metrics") + "/debug/pprof/goroutine?debug=1": http.StatusOK,
		strings.TrimSuffix(idB.Metrics, "/metrics") + "/debug/pprof/goroutine?debug=1": http.StatusNotFound,
		strings.TrimSuffix(idB.Metrics, "/metrics") + "/v1/id":                         http.StatusNotFound,
	} {
		if status, body := get(t, url); status != want {
			t.Errorf("%s: %d %.80s", url, status, body)
		}
	}
	st, err := a.Status(t.Context())
	must(t, err)
	if st.Network.BlocksSent == 0 || st.Network.Inbound != 1 || st.Network.Announced == 0 || st.PeerID != idA.PeerID || st.Store.Files != 1 {
		t.Errorf("%+v", st)
	}
}

// TestMetricsRefused: an address that is taken, and a profiler for everybody.
func TestMetricsRefused(t *testing.T) {
	c := config(t, filepath.Join(shortDir(t), "a"))
	c.Metrics, c.Pprof = "0.0.0.0:0", true
	n, err := Open(t.Context(), c)
	must(t, err)
	if err := n.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "is not loopback") {
		t.Errorf("error %v", err)
	}
	must(t, n.Close())
}
