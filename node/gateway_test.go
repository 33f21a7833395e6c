package node

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/hypha-node/hypha-node/api/control"
)

// httpGet returns the status and the body of what a URL leads to.
func httpGet(t *testing.T, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	must(t, err)
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := c.Do(req)
	must(t, err)
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	must(t, resp.Body.Close())
	return resp.StatusCode, string(body)
}

// TestGateway serves what is public and stored, fetches only where it is told to,
// and never shows what a credential paid for, however it is asked for.
func TestGateway(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.WriteString(w, hello+r.URL.Path); err != nil {
			t.Error(err)
		}
	}))
	defer origin.Close()
	dir := shortDir(t)
	ca := config(t, filepath.Join(dir, "a"))
	ca.Gateway, ca.GatewayFetch = "127.0.0.1:0", true
	a, idA, stopA := run(t, ca)
	defer stopA()
	cb := config(t, filepath.Join(dir, "b"))
	cb.Gateway = "127.0.0.1:0"
	b, idB, stopB := run(t, cb)
	defer stopB()
	_, err := a.Connect(t.Context(), control.ConnectRequest{Address: idB.Addresses[0]})
	must(t, err)

	var secret string
	ref := `{"type":"uri","value":"` + origin.URL + `/secret","headers":{"Authorization":"Bearer x"}}`
	for ev, err := range b.Fetch(t.Context(), control.FetchRequest{Refs: []json.RawMessage{json.RawMessage(ref)}}) {
		must(t, err)
		if ev.Item != nil {
			secret = ev.Item.CID
		}
	}
	public := addText(t, b, hello)
	here := addText(t, a, "only on a")

	for _, tc := range []struct {
		name, url string
		status    int
		body      string
	}{
		{"stored", idB.Gateway + "/ipfs/" + public, 200, hello},
		{"fetched from b", idA.Gateway + "/ipfs/" + public, 200, hello},
		{"not fetched from a", idB.Gateway + "/ipfs/" + here, 404, ""},
		{"private", idB.Gateway + "/ipfs/" + secret, 404, ""},
		{"private, as a block", idB.Gateway + "/ipfs/" + secret + "?format=raw", 404, ""},
	} {
		status, body := httpGet(t, tc.url)
		if status != tc.status || (tc.body != "" && body != tc.body) {
			t.Errorf("%s: %d %.200q", tc.name, status, body)
		}
	}
}
