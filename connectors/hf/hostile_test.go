package hf_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/blockstore/memo"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/hf"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
)

const (
	commit = "0123456789abcdef0123456789abcdef01234567"
	oid    = "9e26dfeeb6e641a33dae4961196235bdb965b21b" // of "{}"
	digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
)

// scripted returns a connector to a hub that answers by route: "revision",
// "tree", "paths-info" or "resolve".
func scripted(t *testing.T, routes map[string]http.HandlerFunc) *hf.Connector {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for route, handle := range routes {
			if strings.Contains(r.URL.Path, "/"+route+"/") {
				handle(w, r)
				return
			}
		}
		http.Error(w, "no route", http.StatusTeapot)
	}))
	t.Cleanup(server.Close)
	client := httpconn.NewClient(httpconn.Config{Delay: time.Millisecond, Retries: 1})
	t.Cleanup(client.Close)
	notes := memo.New(blockstore.NewMemory().Records("hub"), slog.New(slog.DiscardHandler))
	return hf.New(hf.Config{Endpoint: server.URL, Client: client, Memo: notes})
}

// says returns a handler that answers with a text.
func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(text)) }
}

// good is a revision that is as it should be.
func good() http.HandlerFunc { return says(`{"sha":"` + commit + `","private":false,"gated":false}`) }

// TestHostileHub: answers that can't be right are refused, and name what is wrong.
func TestHostileHub(t *testing.T) {
	entry := func(fields string) string { return `[{"type":"file",` + fields + `}]` }
	tests := []struct {
		name     string
		revision string // "": a good one
		tree     string
		says     string
	}{
		{"revision is no JSON", `<html>`, "", "no JSON"},
		{"revision is a list", `[]`, "", "no JSON"},
		{"revision is cut", `{"sha":"` + commit, "", "no JSON"},
		{"revision has no commit", `{}`, "", "no commit"},
		{"commit is a branch", `{"sha":"main"}`, "", "no commit"},
		{"commit leaves", `{"sha":"../../../../../../../../../../../../../../etc"}`, "", "no commit"},
		{"commit is in upper case", `{"sha":"` + strings.ToUpper(commit) + `"}`, "", "no commit"},
		{"commit is a number", `{"sha":5}`, "", "no JSON"},
		{"listing is a page for people", "", `<html>please log in</html>`, "no JSON"},
		{"listing is an object", "", `{"error":"x"}`, "no JSON"},
		{"listing is cut", "", `[{"type":"file","path":"a"`, "no JSON"},
		{"size is a text", "", entry(`"path":"a","size":"5"`), "no JSON"},
		{"size is a fraction", "", entry(`"path":"a","size":5.5`), "no JSON"},
		{"size overflows", "", entry(`"path":"a","size":9223372036854775808`), "no JSON"},
		{"size is negative", "", entry(`"path":"a","size":-1`), "negative"},
		{"lfs is a text", "", entry(`"path":"a","size":1,"lfs":"x"`), "no JSON"},
		{"deep", "", strings.Repeat("[", 20_000), "no JSON"},
		{"path leaves", "", entry(`"path":"../a","size":1`), "refused"},
		{"path leaves inside", "", entry(`"path":"a/../../b","size":1`), "refused"},
		{"path is absolute", "", entry(`"path":"/etc/passwd","size":1`), "refused"},
		{"path is empty", "", entry(`"size":1`), "refused"},
		{"path has a drive", "", entry(`"path":"C:\\x","size":1`), "refused"},
		{"path is a share", "", entry(`"path":"\\\\host\\share","size":1`), "refused"},
		{"path has NUL", "", entry(`"path":"a\u0000b","size":1`), "refused"},
		{"path has a newline", "", entry(`"path":"a\nb","size":1`), "refused"},
		{"path is ours", "", entry(`"path":".hypha-tmp-x","size":1`), "refused"},
		{"path is very long", "", entry(`"path":"` + strings.Repeat("a/", 3000) + `a","size":1`), "refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			revision := good()
			if tt.revision != "" {
				revision = says(tt.revision)
			}
			c := scripted(t, map[string]http.HandlerFunc{"revision": revision, "tree": says(tt.tree)})
			items, err := collect(t, c, parse(t, "hf://owner/name"))
			if !errors.Is(err, connectors.ErrUpstream) || len(items) != 0 {
				t.Fatalf("%d items, %v", len(items), err)
			}
			if !strings.Contains(err.Error(), tt.says) || len(err.Error()) > 500 || strings.ContainsAny(err.Error(), "\x00\n") {
				t.Errorf("error is %v, want one that says %q", err, tt.says)
			}
		})
	}
}

// TestOddEntries: what is unusual, but no reason to refuse.
func TestOddEntries(t *testing.T) {
	stars := strings.Repeat("*", 64)
	c := scripted(t, map[string]http.HandlerFunc{"revision": good(), "tree": says(`[
		{"type":"directory","path":"../d","oid":"x"},
		{"type":"submodule","path":"m","oid":"` + oid + `"},
		{"type":"file","path":"redacted","size":5,"oid":"` + oid + `","lfs":{"oid":"` + stars + `","size":5}},
		{"type":"file","path":"upper","size":5,"oid":"` + oid + `","lfs":{"oid":"` + strings.ToUpper(digest) + `"}},
		{"type":"file","path":"no oid","size":0},
		{"type":"file","path":"nulls","size":1,"oid":null,"lfs":null,"more":[{}]}]`)})
	items, err := collect(t, c, parse(t, "hf://owner/name"))
	if err != nil || len(items) != 4 {
		t.Fatalf("%d items, %v", len(items), err)
	}
	for _, it := range items {
		if it.SHA256 != nil || it.GitSHA1 != nil || it.ETag != "" {
			t.Errorf("%s has an identity: %+v", it.Path, it)
		}
	}
}

// TestScope: content is public only when the hub says so in full.
func TestScope(t *testing.T) {
	for info, public := range map[string]bool{
		`"private":false,"gated":false`:  true,
		`"private":false,"gated":"auto"`: false,
		`"private":true,"gated":false`:   false,
		`"private":false`:                false,
		`"private":false,"gated":null`:   false,
		`"gated":false`:                  false,
		`"private":null,"gated":false`:   false,
	} {
		c := scripted(t, map[string]http.HandlerFunc{
			"revision": says(`{"sha":"` + commit + `",` + info + `}`),
			"tree":     says(`[{"type":"file","path":"a","size":1}]`),
		})
		ref := parse(t, "hf://owner/name")
		ref.Token = "hf_x"
		items, err := collect(t, c, ref)
		if err != nil {
			t.Fatal(err)
		}
		if got := items[0].Scope == ""; got != public {
			t.Errorf("%s: public=%t, want %t", info, got, public)
		}
	}
}

// TestPages: where the next page may be.
func TestPages(t *testing.T) {
	entries := func(name string) string {
		return `[{"type":"file","path":"` + name + `","size":1,"oid":"` + oid + `"}]`
	}
	tests := []struct {
		name  string
		link  func(r *http.Request, page int) string // "": no more pages
		files int
		says  string
	}{
		{"absolute", func(r *http.Request, page int) string {
			return fmt.Sprintf(`<http://%s%s?cursor=%d>; rel="next"`, r.Host, r.URL.Path, page+1)
		}, 3, ""},
		{"of the public hub", func(r *http.Request, page int) string {
			return fmt.Sprintf(`<https://huggingface.co%s?cursor=%d>; rel="next"`, r.URL.Path, page+1)
		}, 3, ""},
		{"of a thief", func(r *http.Request, page int) string {
			return fmt.Sprintf(`<http://user:pass@evil.example:1%s?cursor=%d>; rel=next`, r.URL.Path, page+1)
		}, 3, ""},
		{"relative", func(_ *http.Request, page int) string { return fmt.Sprintf(`<?cursor=%d>;rel="prev next"`, page+1) }, 3, ""},
		{"not the first link", func(_ *http.Request, page int) string {
			return fmt.Sprintf(`<?cursor=0>; rel="first", <?cursor=%d>; title="a,b"; rel="next", <?cursor=9>; rel="last"`, page+1)
		}, 3, ""},
		{"other links", func(*http.Request, int) string { return `<?cursor=0>; rel="first", <x>; rel="nextish"` }, 1, ""},
		{"malformed", func(*http.Request, int) string { return `<?cursor=1; rel="next"` }, 1, ""},
		{"itself", func(r *http.Request, _ int) string { return "<http://" + r.Host + r.URL.String() + `>; rel="next"` }, 1, "the page itself"},
		{"no URL", func(*http.Request, int) string { return `<http://[::1>; rel="next"` }, 1, "no URL"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := scripted(t, map[string]http.HandlerFunc{"revision": good(), "tree": func(w http.ResponseWriter, r *http.Request) {
				page := 0
				_, _ = fmt.Sscan(r.URL.Query().Get("cursor"), &page)
				if page < 2 {
					w.Header().Set("Link", tt.link(r, page))
				}
				_, _ = w.Write([]byte(entries(fmt.Sprintf("file%d", page))))
			}})
			items, err := collect(t, c, parse(t, "hf://owner/name"))
			if len(items) != tt.files {
				t.Errorf("%d items, want %d", len(items), tt.files)
			}
			if tt.says == "" && err != nil || tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("error is %v, want one that says %q", err, tt.says)
			}
		})
	}
}

// TestPointer: a pointer of git LFS is not taken for the file.
func TestPointer(t *testing.T) {
	pointer := "version https://git-lfs.github.com/spec/v1\noid sha256:" + digest + "\nsize 2\n"
	tests := []struct {
		name, entry, content, says string
		kind                       error
	}{
		{"in the place of a large file", `"size":5000,"lfs":{"oid":"` + digest + `","size":5000}`, pointer, "bytes instead of 5000", connectors.ErrUpstream},
		{"as a small file", fmt.Sprintf(`"size":%d,"oid":"%s"`, len(pointer), oid), pointer, "pointer of git LFS", connectors.ErrPointer},
		{"not a pointer", `"size":2,"oid":"` + oid + `"`, "{}", "", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := scripted(t, map[string]http.HandlerFunc{
				"revision": good(), "tree": says(`[{"type":"file","path":"model.bin",` + tt.entry + `}]`), "resolve": says(tt.content),
			})
			items, err := collect(t, c, parse(t, "hf://owner/name"))
			if err != nil {
				t.Fatal(err)
			}
			got, err := readItem(t, items[0])
			if tt.says == "" && (err != nil || string(got) != tt.content) {
				t.Errorf("content is %q, %v", got, err)
			}
			if tt.says != "" && (!errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.says) || len(got) > 0) {
				t.Errorf("content is %q, %v, want an error that says %q", got, err, tt.says)
			}
		})
	}
}

// TestOddRefusals: errors of servers that are not quite the Hub.
func TestOddRefusals(t *testing.T) {
	tests := []struct {
		name   string
		status int
		fields map[string]string
		body   string
		want   error
		says   string
	}{
		{"a page for people", 404, map[string]string{"Content-Type": "text/html"}, "<html>" + strings.Repeat("x", 9000), connectors.ErrNotFound, "no such file, revision or repository"},
		{"plain text", 403, map[string]string{"Content-Type": "text/plain"}, "not\tfor\x00you\n", connectors.ErrUnauthorized, "not for you"},
		{"long text", 403, map[string]string{"Content-Type": "text/plain"}, strings.Repeat("é", 500), connectors.ErrUnauthorized, "…"},
		{"JSON of another shape", 403, map[string]string{"Content-Type": "application/json"}, `{"error":{"a":1}}`, connectors.ErrUnauthorized, "access denied"},
		{"message without a code", 404, map[string]string{"X-Error-Message": "gone fishing"}, "", connectors.ErrNotFound, "gone fishing"},
		{"unknown code", 410, map[string]string{"X-Error-Code": "Whatever"}, "", connectors.ErrNotFound, "no such"},
		{"other status", 418, nil, "", connectors.ErrUpstream, "teapot"},
		{"server error", 500, map[string]string{"X-Error-Message": "boom"}, "", connectors.ErrUpstream, "after 2 attempts"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := scripted(t, map[string]http.HandlerFunc{"revision": func(w http.ResponseWriter, _ *http.Request) {
				for name, value := range tt.fields {
					w.Header().Set(name, value)
				}
				w.WriteHeader(tt.status)
				_, _ = w.Write([]byte(tt.body))
			}})
			_, err := collect(t, c, parse(t, "hf://owner/name"))
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error is %v, want %v that says %q", err, tt.want, tt.says)
			}
			if len(err.Error()) > 400 || strings.ContainsAny(err.Error(), "\x00\t\n") {
				t.Errorf("error is %q", err)
			}
			if ce, ok := errors.AsType[*connectors.Error](err); !ok || ce.Status != tt.status {
				t.Errorf("error is %#v, want status %d", err, tt.status)
			}
		})
	}
}

// TestHugeAnswer: an answer without an end is not read to its end.
func TestHugeAnswer(t *testing.T) {
	c := scripted(t, map[string]http.HandlerFunc{"revision": good(), "tree": func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write([]byte(strings.Repeat(" ", 1<<20))); err != nil {
				return
			}
		}
	}})
	if _, err := collect(t, c, parse(t, "hf://owner/name")); !errors.Is(err, connectors.ErrUpstream) || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("error is %v", err)
	}
}
