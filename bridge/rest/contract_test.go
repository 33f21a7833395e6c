package rest

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

func TestOpenAPIIsValid(t *testing.T) {
	doc, _ := document(t)
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("openapi = %q", doc.OpenAPI)
	}
}

func TestOpenAPIIsServed(t *testing.T) {
	s := serve(t, Config{Job: &scripted{}})
	if a := s.get("/openapi.json"); a.status != http.StatusOK || string(a.body) != openAPI {
		t.Errorf("status %d, %d bytes; want the document", a.status, len(a.body))
	}
}

// The document and the table of routes name the same operations.
func TestRoutesAreDocumented(t *testing.T) {
	doc, _ := document(t)
	var have, want []string
	for _, r := range routes() {
		have = append(have, r.method+" "+r.path)
	}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			want = append(want, method+" "+path)
		}
	}
	slices.Sort(have)
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("routes  %v\nopenapi %v", have, want)
	}
}

// Every row of the error table is documented where it can happen, with its code.
func TestErrorsAreDocumented(t *testing.T) {
	doc, _ := document(t)
	op := doc.Paths.Value("/resources/fetch").Post
	for _, c := range classes() {
		if errors.Is(c.err, errRoute) || errors.Is(c.err, errMethod) { // no operation answers these
			continue
		}
		if resp := op.Responses.Status(c.status); resp == nil {
			t.Errorf("%s: status %d is not documented", c.code, c.status)
		} else if desc := *resp.Value.Description; !containsWord(desc, c.code) {
			t.Errorf("status %d: %q does not name the code %s", c.status, desc, c.code)
		}
	}
	for status, resp := range op.Responses.Map() {
		if n, err := strconv.Atoi(status); err != nil || n < 400 {
			continue
		}
		if got := resp.Value.Content.Get("application/json").Schema.Ref; got != "#/components/schemas/Error" {
			t.Errorf("status %s answers %q", status, got)
		}
	}
}

// docs/api.md has a row for every status and code.
func TestErrorsAreInTheDocs(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]bool{}
	for line := range strings.Lines(string(page)) {
		status, rest, ok := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		codes, _, _ := strings.Cut(rest, " | ")
		if _, err := strconv.Atoi(status); ok && err == nil {
			for code := range words(codes) {
				rows[status+" "+code] = true
			}
		}
	}
	for _, c := range append(classes(), class{status: 500, code: "internal"}, class{status: 422, code: "invalid_request"}, class{status: 503, code: "busy"}) {
		row := strconv.Itoa(c.status) + " " + c.code
		if !rows[row] {
			t.Errorf("%q has no row", row)
		}
	}
	if len(rows) > len(classes())+3 {
		t.Errorf("%d rows", len(rows))
	}
}

// containsWord tells whether a word made of letters and underscores is in s.
func containsWord(s, word string) bool {
	return slices.Contains(slices.Collect(words(s)), word)
}

// words yields the words of s.
func words(s string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		start := -1
		for i := 0; i <= len(s); i++ {
			in := i < len(s) && (s[i] == '_' || s[i]|0x20 >= 'a' && s[i]|0x20 <= 'z')
			switch {
			case in && start < 0:
				start = i
			case !in && start >= 0:
				if !yield(s[start:i]) {
					return
				}
				start = -1
			}
		}
	}
}

// The schema of a request takes what executors send, and not what is wrong.
func TestRequestSchema(t *testing.T) {
	doc, _ := document(t)
	schema := doc.Paths.Value("/resources/fetch").Post.RequestBody.Value.Content.Get("application/json").Schema.Value
	tests := []struct {
		name, body string
		bad        bool
	}{
		{name: "RFC", body: `{"fetch":{"type":"HuggingFace","repository":"a/b","revision":"main","filenames":["x"]},"out_dir":"artifacts"}`},
		{name: "bare", body: `{"type":"huggingface","repository":"a/b","revision":null,"filenames":["x"],"token":null}`},
		{name: "resource", body: `{"resource":{"type":"uri","value":"https://h/x"}}`},
		{name: "URI", body: `"hf://a/b"`},
		{name: "URI in fetch", body: `{"fetch":"ipfs://bafy"}`},
		{name: "cids", body: `{"type":"cids","values":["bafy"]}`},
		{name: "number", body: `1`, bad: true},
		{name: "list", body: `[]`, bad: true},
		{name: "nothing", body: `{}`, bad: true},
		{name: "unknown type", body: `{"type":"ftp","value":"ftp://h/x"}`, bad: true},
		{name: "no files", body: `{"type":"huggingface","repository":"a/b","filenames":[]}`, bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var v any
			if err := json.Unmarshal([]byte(tt.body), &v); err != nil {
				t.Fatal(err)
			}
			err := schema.VisitJSON(v, openapi3.EnableJSONSchema2020())
			if (err != nil) != tt.bad {
				t.Errorf("schema says %v", err)
			}
		})
	}
}
