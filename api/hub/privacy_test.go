package hub_test

import (
	"bytes"
	"testing"

	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// TestRefusals holds that refusals of the hub reach clients as they are.
func TestRefusals(t *testing.T) {
	r := start(t, nil)
	commit := r.up.Head("model/org/model")
	for _, tc := range []struct {
		name, request, token string
		status               int
		code                 string
	}{
		{"entry", "HEAD /org/model/resolve/main/absent", "", 404, "EntryNotFound"},
		{"entry of a commit", "GET /org/model/resolve/" + commit + "/absent", "", 404, "EntryNotFound"},
		{"revision", "GET /org/model/resolve/nowhere/config.json", "", 404, "RevisionNotFound"},
		{"revision of the API", "GET /api/models/org/model/revision/nowhere", "", 404, "RevisionNotFound"},
		{"tree", "GET /api/models/org/model/tree/main/absent", "", 404, "EntryNotFound"},
		{"repository", "GET /org/absent/resolve/main/config.json", "", 401, ""},
		{"repository, known user", "GET /org/absent/resolve/main/config.json", other, 404, "RepoNotFound"},
		{"gated", "HEAD /org/gated/resolve/main/weights.bin", "", 401, "GatedRepo"},
		{"gated, not on the list", "GET /org/gated/resolve/main/weights.bin", other, 403, "GatedRepo"},
		{"private", "GET /org/private/resolve/main/weights.bin", other, 404, "RepoNotFound"},
		{"bad token", "GET /api/models/org/model", "hf_bad", 401, ""},
		{"whoami", "GET /api/whoami-v2", "", 401, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var fields []string
			if tc.token != "" {
				fields = append(fields, token(tc.token))
			}
			for range 2 { // what is remembered is no other
				a := r.do(tc.request, fields...)
				a.want(t, tc.request, tc.status, nil)
				if got := a.header.Get("X-Error-Code"); got != tc.code || a.header.Get("X-Error-Message") == "" {
					t.Errorf("code %q, message %q, want %q", got, a.header.Get("X-Error-Message"), tc.code)
				}
			}
		})
	}
}

// TestTokens holds that content and metadata that came with a token are given to
// those alone who may have them, that tokens reach the hub and nobody else, and
// that none is kept.
func TestTokens(t *testing.T) {
	r := start(t, nil)
	weights := bytesOf(t, hubtest.Random(4, largeSize))
	for _, repo := range []string{"org/gated", "org/private"} {
		commit := r.up.Head("model/" + repo)
		file, list := "/"+repo+"/resolve/"+commit+"/weights.bin", "/api/models/"+repo+"/tree/"+commit
		for range 2 {
			r.do("GET "+list, token(reader)).want(t, "the reader", 200, nil)
			r.do("GET "+file, token(reader)).want(t, "the reader", 200, weights)
			if a := r.do("GET "+file, token(other)); a.status != 403 && a.status != 404 {
				t.Errorf("a stranger got %s: %d", file, a.status)
			}
			r.do("GET "+file).want(t, "nobody", 401, nil)
			if repo == "org/private" {
				r.do("GET "+list).want(t, "nobody", 401, nil)
				r.do("GET "+list, token(other)).want(t, "a stranger", 404, nil)
			}
		}
	}
	if n := r.downloads(); n != 1 { // both have the same weights, which the reader has shown to be allowed
		t.Errorf("%d downloads, want 1", n)
	}
	who := r.do("GET /api/whoami-v2", token(reader))
	who.want(t, "whoami", 200, nil)
	if !bytes.Contains(who.body, []byte(`"reader"`)) {
		t.Errorf("whoami: %s", who.body)
	}
	for _, q := range r.up.Requests() {
		given := q.Header.Get("Authorization")
		if q.CDN && given != "" || given != "" && given != "Bearer "+reader && given != "Bearer "+other {
			t.Errorf("%s %s (CDN %v) came with %q", q.Method, q.Path, q.CDN, given)
		}
	}
	for rec, err := range r.store.Records("hub").All(t.Context(), "") {
		must(t, err)
		for _, secret := range []string{reader, other} {
			if bytes.Contains(rec.Value, []byte(secret)) || bytes.Contains([]byte(rec.Key), []byte(secret)) {
				t.Errorf("record %s holds a token", rec.Key)
			}
		}
	}
	r.stopHub()
	commit := r.up.Head("model/org/private")
	r.do("GET /org/private/resolve/"+commit+"/weights.bin", token(reader)).want(t, "the reader, alone", 200, weights)
	r.do("GET /org/private/resolve/"+commit+"/weights.bin", token(other)).want(t, "a stranger, alone", 502, nil)
	r.do("GET /org/private/resolve/"+commit+"/weights.bin").want(t, "nobody, alone", 502, nil)
}

// TestGatedLater holds that a client hears in the hub's own words why it does not
// get a file which everybody could have when it was listed.
func TestGatedLater(t *testing.T) {
	r := start(t, nil)
	commit := r.up.Head("model/org/model")
	const file = "/config.json"
	r.do("HEAD /org/model/resolve/"+commit+file).want(t, "at first", 200, nil)
	r.up.Plant(hubtest.Fault{Path: file, Status: 403, Code: "GatedRepo"})
	a := r.do("GET /org/model/resolve/" + commit + file)
	a.want(t, "later", 403, nil)
	a.wantHeader(t, "later", "X-Error-Code: GatedRepo", "Etag: -", "Content-Disposition: -")
}

// TestPublicForAll holds that what anybody may have is shared by those who show
// tokens and those who don't.
func TestPublicForAll(t *testing.T) {
	r := start(t, nil)
	commit := r.up.Head("model/org/model")
	large := bytesOf(t, hubtest.Random(1, largeSize))
	const path = "/sub/large.bin"
	r.do("GET /org/model/resolve/"+commit+path, token(reader)).want(t, "with a token", 200, large)
	r.up.ResetRequests()
	r.do("GET /org/model/resolve/"+commit+path, token(other)).want(t, "with another", 200, large)
	r.do("GET /org/model/resolve/"+commit+path).want(t, "with none", 200, large)
	if n := len(r.up.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}
