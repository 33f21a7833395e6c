package hubtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestXetDoors: who gets in where. What is behind the doors, the Hub's own clients
// show (testground/interop).
func TestXetDoors(t *testing.T) {
	var now clock
	h := start(t, Config{
		Xet: true, Now: now.time, TokenLife: time.Minute, LinkLife: 2 * time.Minute,
		Tokens: map[string]User{"good": {Name: "reader"}, "other": {Name: "other"}},
		Repos: []Repo{
			{ID: "org/model", Files: map[string]Content{"model.bin": Random(1, 2<<20)}},
			{ID: "org/gated", Gated: "auto", Readers: []string{"reader"}, Files: map[string]Content{"model.bin": Random(2, 1000)}},
		},
	})
	ask := func(url string, fields ...string) answer {
		t.Helper()
		a, err := do(t, http.MethodGet, url, "", fields...)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	code := func(what string, want int, url string, fields ...string) {
		t.Helper()
		if got := ask(url, fields...).code; got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	route := h.URL + "/api/models/org/gated/xet-read-token/main"
	code("a gated repository, anonymously", 401, route)
	code("a gated repository, another user", 403, route, "Authorization", "Bearer other")
	code("a gated repository", 200, route, "Authorization", "Bearer good")

	var token struct{ AccessToken, CasURL string }
	granted := ask(h.URL + "/api/models/org/model/xet-read-token/main")
	if err := json.Unmarshal(granted.body, &token); err != nil || token.CasURL != h.CASURL || granted.header.Get("X-Xet-Access-Token") != token.AccessToken {
		t.Fatalf("%s: %v", granted.body, err)
	}
	hash := ask(h.URL+"/org/model/resolve/main/model.bin", "Accept", "application/vnd.xet-fileinfo+json, */*").header.Get("X-Xet-Hash")
	file := h.CASURL + "/v2/reconstructions/" + hash
	auth := "Bearer " + token.AccessToken
	code("no token", 401, file)
	code("the hub's token", 401, file, "Authorization", "Bearer good")
	code("another file", 404, h.CASURL+"/v2/reconstructions/"+strings.Repeat("0", 64), "Authorization", auth)
	code("behind the end", 416, file, "Authorization", auth, "Range", "bytes=2097152-2097153")

	var plan struct {
		Xorbs map[string][]struct {
			URL    string
			Ranges []struct{ Bytes struct{ Start, End int64 } }
		}
	}
	if err := json.Unmarshal(ask(file, "Authorization", auth).body, &plan); err != nil {
		t.Fatal(err)
	}
	for _, entries := range plan.Xorbs {
		var all []string
		for _, r := range entries[0].Ranges {
			all = append(all, fmt.Sprintf("%d-%d", r.Bytes.Start, r.Bytes.End))
		}
		if len(all) < 2 {
			t.Fatalf("ranges %v, want several", all)
		}
		url := entries[0].URL
		code("all ranges", 206, url, "Range", "bytes="+strings.Join(all, ","))
		code("one of the ranges", 206, url, "Range", "bytes="+all[1])
		code("another range", 403, url, "Range", "bytes=0-1")
		code("no range", 403, url)
		code("a credential", 400, url, "Range", "bytes="+all[1], "Authorization", auth)
		code("another signature", 403, url+"0", "Range", "bytes="+all[1])
		now.Add(90)
		code("the URL lives", 206, url, "Range", "bytes="+all[1])
		code("the token is over", 401, file, "Authorization", auth)
		now.Add(60)
		code("the URL has expired", 403, url, "Range", "bytes="+all[1])
		return
	}
	t.Error("no xorbs")
}
