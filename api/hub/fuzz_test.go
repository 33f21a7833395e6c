package hub

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/internal/safename"
)

// FuzzTarget holds that what a path is taken for can't lead the upstream's URLs
// anywhere else, and is what its own URL means again.
func FuzzTarget(f *testing.F) {
	for _, path := range []string{
		"/org/model/resolve/main/a/b.txt", "/gpt2/raw/main/a", "/datasets/o/d/resolve/refs%2Fconvert%2Fparquet/x", "/api/models/o/m",
		"/api/spaces/o/s/tree/main/sub", "/api/models/o/m/revision/refs/pr/1", "/api/datasets/d/refs", "/o/m/resolve/main/%2e%2e/x", "//",
	} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, escaped string) {
		target, err := parseTarget(escaped)
		if err != nil {
			return
		}
		own := target.apiPath()
		if target.route == routeResolve || target.route == routeRaw {
			own = target.filePath(target.revision)
			if target.path == "" || safename.Path(target.path) != nil {
				t.Errorf("%q: path %q", escaped, target.path)
			}
		}
		u, err := url.Parse("http://hub" + own)
		if err != nil || u.Host != "hub" || u.EscapedPath() != own || u.RawQuery != "" {
			t.Fatalf("%q is asked for as %q: %v", escaped, own, err)
		}
		for part := range strings.SplitSeq(u.EscapedPath(), "/") {
			if part == "." || part == ".." {
				t.Errorf("%q is asked for as %q", escaped, own)
			}
		}
		again, err := parseTarget(own)
		if target.route == routeRaw {
			target.route = routeResolve
		}
		if err != nil || again != target {
			t.Errorf("%q is %+v, and by its own path %q %+v, %v", escaped, target, own, again, err)
		}
	})
}

// FuzzRange holds that a piece lies within its file.
func FuzzRange(f *testing.F) {
	for _, field := range []string{"bytes=0-0", "bytes=5-", "bytes=-5", "bytes=9-2", "bytes=1-2,3-4", "bytes=99999999999999999999-", "x"} {
		f.Add(field, int64(10))
	}
	f.Fuzz(func(t *testing.T, field string, size int64) {
		size = max(size, 0)
		p, ok := partOf(&http.Request{Header: http.Header{"Range": {field}}}, size, "tag")
		if p.off < 0 || p.end > size || p.off > p.end || p.size != size || ok && p.ranged && p.off == p.end {
			t.Errorf("%q of %d bytes is %+v, %v", field, size, p, ok)
		}
	})
}

// FuzzLinks holds that links lead to the façade alone.
func FuzzLinks(f *testing.F) {
	f.Add(`<https://hub/api/models/o/m/tree/main?cursor=x>; rel="next"`)
	f.Add(`</api/x>; rel=next, <https://hub/api/models/o/m/xet-read-token/x>; rel="xet-auth"`)
	f.Add(`<//evil/api/x>; title="a, b; c"; rel="next", <mailto:x>; rel=next`)
	f.Fuzz(func(t *testing.T, field string) {
		const base = "http://127.0.0.1:1"
		links := ownLinks(field, base)
		if links == "" {
			return
		}
		for link := range strings.SplitSeq(links, ", <") {
			uri, _, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">")
			u, err := url.Parse(uri)
			if !ok || err != nil || !strings.HasPrefix(uri, base+"/api/") || u.Host != "127.0.0.1:1" {
				t.Errorf("%q became %q", field, links)
			}
		}
	})
}

// FuzzListing holds that no listing tells of Xet, and that the rest of it stays.
func FuzzListing(f *testing.F) {
	f.Add([]byte(`[{"type":"file","path":"a","size":12345678901234567890,"xetHash":"x"}]`))
	f.Add([]byte(`{"sha":"x","siblings":[{"rfilename":"a","xetHash":"x"}]}`))
	f.Add([]byte(`{"xetHash":1,"siblings":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		out := withoutXet(body)
		var list []map[string]json.RawMessage
		var info struct {
			Siblings []map[string]json.RawMessage `json:"siblings"`
		}
		if json.Unmarshal(out, &list) != nil {
			if json.Unmarshal(out, &info) != nil {
				return
			}
			list = info.Siblings
		}
		for _, entry := range list {
			if _, ok := entry[xetMember]; ok {
				t.Errorf("%q became %q", body, out)
			}
		}
		if json.Valid(body) != json.Valid(out) {
			t.Errorf("%q became %q", body, out)
		}
	})
}

// FuzzRecord holds that what is read of a record can be sent.
func FuzzRecord(f *testing.F) {
	a := answer{Status: 200, Header: map[string]string{"Content-Type": "application/json"}, Body: []byte("[]"), Time: 1}
	f.Add(a.pack())
	f.Add([]byte(`{"status":99}`))
	f.Add([]byte("{\"status\":200}\nH4sI"))
	f.Fuzz(func(t *testing.T, record []byte) {
		if a := unpack(record); a != nil && (a.Status < 200 || a.Status > 599 || len(a.Body) > maxAnswer) {
			t.Errorf("%q is %+v", record, a)
		}
	})
	if b := unpack(a.pack()); b == nil || b.Status != 200 || string(b.Body) != "[]" || b.Header["Content-Type"] != "application/json" {
		f.Errorf("%+v became %+v", a, b)
	}
}
