package hf

import (
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/internal/safename"
)

// FuzzEntries gives the decoder of listings anything: what becomes an item is
// safe to make a file of.
func FuzzEntries(f *testing.F) {
	f.Add([]byte(`[{"type":"file","path":"a/b","size":5,"oid":"9e26dfeeb6e641a33dae4961196235bdb965b21b"}]`))
	f.Add([]byte(`[{"type":"file","path":"m","size":5,"lfs":{"oid":"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":5}}]`))
	f.Add([]byte(`[{"path":"../x","size":-1}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		q := &query{base: "https://hub.test", ref: connectors.Ref{Type: connectors.TypeHuggingFace, Repository: "a/b", RepoType: "model"}, commit: strings.Repeat("a", 40)}
		list, err := q.entries(b)
		if err != nil {
			return
		}
		if again, ok := unpack(pack(list)); !ok || !reflect.DeepEqual(again, list) {
			t.Errorf("%+v is remembered as %+v", list, again)
		}
		for _, e := range list {
			it, err := q.item(e)
			if err != nil {
				continue
			}
			if safename.Path(it.Path) != nil || it.Size < 0 {
				t.Errorf("item is %+v", it)
			}
			u, err := url.Parse(it.URL)
			if err != nil || u.Host != "hub.test" || u.Path != "/a/b/resolve/"+q.commit+"/"+it.Path || u.RawQuery != "" || u.Fragment != "" {
				t.Errorf("URL of %q is %q", it.Path, it.URL)
			}
		}
	})
}

// FuzzLink gives the parser of Link fields anything: the next page is at the
// endpoint, whatever the field says.
func FuzzLink(f *testing.F) {
	f.Add(`<https://huggingface.co/api/models/a/b/tree/main?cursor=x>; rel="next"`)
	f.Add(`<a>; rel=prev, <b>; rel="x next"; <`)
	f.Add("<ttps:n\xafhuggi/gface.co/api/models/a/b/tree/main?cursor=x>; rel=\"next")
	f.Fuzz(func(t *testing.T, field string) {
		q := &query{}
		next, err := q.following("https://hub.test/api/x", http.Header{"Link": {field}})
		if err != nil || next == "" {
			return
		}
		if u, err := url.Parse(next); err != nil || u.Host != "hub.test" || u.Scheme != "https" || u.User != nil {
			t.Errorf("%q leads to %q", field, next)
		}
	})
}

// FuzzReason gives the reader of refusals anything: what it returns fits in an error.
func FuzzReason(f *testing.F) {
	f.Add("text/plain", "no\x00", `x`)
	f.Add("application/json", "", `{"error":"a\nb"}`)
	f.Fuzz(func(t *testing.T, kind, message, body string) {
		h := http.Header{"Content-Type": {kind}, "X-Error-Message": {message}}
		got := reasonOf(&http.Response{Header: h, Body: io.NopCloser(strings.NewReader(body))})
		if len(got) > 210 || strings.ContainsFunc(got, unicode.IsControl) {
			t.Errorf("reason is %q", got)
		}
	})
}
