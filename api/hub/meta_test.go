package hub_test

import (
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/api/hub"
)

// TestListing walks the pages of a listing through the façade, asks for paths in
// both forms and for refs, and does it again without the hub.
func TestListing(t *testing.T) {
	r := start(t, nil)
	commit := r.up.Head("model/org/model")
	for _, round := range []string{"asked", "remembered"} {
		var names []string
		next := "/api/models/org/model/tree/" + commit + "?recursive=True&expand=False"
		for next != "" {
			a := r.do("GET " + next)
			a.want(t, round, 200, nil)
			var page []struct{ Type, Path string }
			must(t, json.Unmarshal(a.body, &page))
			for _, e := range page {
				if e.Type == "file" {
					names = append(names, e.Path)
				}
			}
			link := a.header.Get("Link")
			if next = ""; link != "" {
				uri, _, ok := strings.Cut(strings.TrimPrefix(link, "<"), `>; rel="next"`)
				rest, own := strings.CutPrefix(uri, r.web.URL)
				if !ok || !own {
					t.Fatalf("link %q leads away from %s", link, r.web.URL)
				}
				next = rest
			}
		}
		if got := strings.Join(names, " "); got != "config.json empty.txt sub/large.bin sub/small.bin with space/ünï+&.txt" {
			t.Errorf("%s: listed %s", round, got)
		}
		below := r.do("GET /api/models/org/model/tree/" + commit + "/sub")
		below.want(t, round, 200, nil)
		for kind, body := range map[string]string{
			"application/x-www-form-urlencoded": "paths=config.json&paths=nothing&expand=False",
			"application/json":                  `{"paths":["config.json","nothing"],"expand":false}`,
		} {
			a := r.do("POST /api/models/org/model/paths-info/"+commit+" "+body, "Content-Type: "+kind)
			var found []struct{ Path string }
			must(t, json.Unmarshal(a.body, &found))
			if a.status != 200 || len(found) != 1 || found[0].Path != "config.json" {
				t.Errorf("%s: paths as %s: %d %s", round, kind, a.status, a.body)
			}
		}
		r.do("GET /api/models/org/model/refs").want(t, round, 200, nil)
		for _, rev := range []string{"", "/revision/main", "/revision/HEAD?expand=sha", "/revision/" + commit, "/revision/refs%2Fpr%2F1"} {
			var info struct{ SHA string }
			a := r.do("GET /api/models/org/model" + rev)
			must(t, json.Unmarshal(a.body, &info))
			if info.SHA != commit {
				t.Errorf("%s: revision %q is %s", round, rev, a.body)
			}
		}
		r.stopHub()
	}
}

// TestNoHeads holds that files of a repository that anybody may have are not
// asked for one by one when a listing has told of them.
func TestNoHeads(t *testing.T) {
	r := start(t, nil)
	commit := r.up.Head("model/org/model")
	r.do("GET /api/models/org/model/revision/main").want(t, "revision", 200, nil)
	for _, query := range []string{"recursive=true", "recursive=true&cursor=c2", "recursive=true&cursor=c4", "recursive=true&cursor=c6"} {
		r.do("GET /api/models/org/model/tree/"+commit+"?"+query).want(t, query, 200, nil)
	}
	r.up.ResetRequests()
	for _, name := range []string{"config.json", "sub/small.bin", "empty.txt"} {
		r.do("HEAD /org/model/resolve/"+commit+"/"+name).want(t, name, 200, nil)
		r.do("HEAD /org/model/resolve/main/"+name, token(other)).want(t, name, 200, nil)
	}
	for _, q := range r.up.Requests() {
		if q.Method == "HEAD" && strings.Contains(q.Path, commit) {
			t.Errorf("asked for %s %s", q.Method, q.Path)
		}
	}
}

// TestBranches holds that what a branch stands for is asked for again, unless it
// was asked a moment ago or nobody can be asked.
func TestBranches(t *testing.T) {
	var passed atomic.Int64 // seconds
	clock := func() time.Time { return time.Unix(1_800_000_000+passed.Load(), 0) }
	r := start(t, func(c *hub.Config) { c.Now = clock })
	revision := func() string {
		var info struct{ SHA string }
		a := r.do("GET /api/models/org/model/revision/main")
		must(t, json.Unmarshal(a.body, &info))
		file := r.do("HEAD /org/model/resolve/main/config.json").header.Get("X-Repo-Commit")
		if file != info.SHA {
			t.Errorf("the branch is %s, its file of %s", info.SHA, file)
		}
		return info.SHA
	}
	first := revision()
	second, err := r.up.Commit("model/org/model", nil)
	must(t, err)
	if got := revision(); got != first {
		t.Errorf("at once: %s, want %s", got, first)
	}
	passed.Add(11)
	if got := revision(); got != second {
		t.Errorf("later: %s, want %s", got, second)
	}
	r.stopHub()
	passed.Add(24 * 3600)
	if got := revision(); got != second {
		t.Errorf("alone: %s, want %s", got, second)
	}
}

// TestAlone opens the façade anew over what is stored, with the hub stopped: what
// was asked for before is there, and what was not is refused with a reason.
func TestAlone(t *testing.T) {
	r := start(t, nil)
	commit := r.up.Head("model/org/model")
	r.do("GET /org/model/resolve/main/config.json").want(t, "first", 200, nil)
	r.do("GET /org/model/resolve/main/absent.json").want(t, "absent", 404, nil)
	r.stopHub()
	for _, offline := range []bool{false, true} {
		r.open(r.up.URL, func(c *hub.Config) { c.Offline = offline })
		r.do("GET /org/model/resolve/main/config.json").want(t, "by branch", 200, []byte(`{"layers":2}`))
		r.do("GET /org/model/resolve/"+commit+"/config.json").want(t, "by commit", 200, []byte(`{"layers":2}`))
		absent := r.do("GET /org/model/resolve/" + commit + "/never.json")
		want := 502
		if offline {
			want = 504
		}
		absent.want(t, "never asked for", want, nil)
		if absent.header.Get("X-Error-Message") == "" {
			t.Error("no reason is given")
		}
	}
}
