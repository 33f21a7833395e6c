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
	"time"

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

// Every row of the error table is documented somewhere, with its code, and every
// refusal is an Error with a code that the table has.
func TestErrorsAreDocumented(t *testing.T) {
	doc, _ := document(t)
	said := map[string]bool{} // "status code"
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			for status, resp := range op.Responses.Map() {
				if n, err := strconv.Atoi(status); err != nil || n < 400 {
					continue
				}
				if got := resp.Value.Content.Get("application/json").Schema.Ref; got != "#/components/schemas/Error" {
					t.Errorf("%s %s: status %s answers %q", method, path, status, got)
				}
				_, codes, ok := strings.Cut(*resp.Value.Description, "Code: ")
				if !ok {
					t.Errorf("%s %s: status %s has no code", method, path, status)
				}
				for code := range words(codes) {
					said[status+" "+code] = true
				}
			}
		}
	}
	have := map[string]bool{}
	for _, c := range append(classes(), moreClasses()...) {
		row := strconv.Itoa(c.status) + " " + c.code
		have[row] = true
		if errors.Is(c.err, errRoute) || errors.Is(c.err, errMethod) || row == "503 busy" { // no operation answers these
			continue
		}
		if !said[row] {
			t.Errorf("%s is documented nowhere", row)
		}
	}
	for row := range said {
		if !have[row] {
			t.Errorf("%s is documented and never answered", row)
		}
	}
}

// moreClasses are the refusals that are no rows of the table.
func moreClasses() []class {
	return []class{
		{status: 500, code: "internal"},
		{status: 422, code: "invalid_request"},
		{status: 502, code: codeDelivery},
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
	for _, c := range append(classes(), moreClasses()...) {
		row := strconv.Itoa(c.status) + " " + c.code
		if !rows[row] {
			t.Errorf("%q has no row", row)
		}
	}
	if len(rows) > len(classes())+len(moreClasses()) {
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

// The schemas of requests take what executors send, and not what is wrong; the
// parsers agree with them.
func TestRequestSchema(t *testing.T) {
	doc, _ := document(t)
	const peers = `{"type":"peers","peers":["12D3"],"strategy":{"type":"All"}}`
	tests := []struct {
		name, path, body string
		bad              bool
	}{
		{name: "RFC", path: "fetch", body: `{"fetch":{"type":"HuggingFace","repository":"a/b","revision":"main","filenames":["x"]},"out_dir":"artifacts"}`},
		{name: "bare", path: "fetch", body: `{"type":"huggingface","repository":"a/b","revision":null,"filenames":["x"],"token":null}`},
		{name: "resource", path: "fetch", body: `{"resource":{"type":"uri","value":"https://h/x"},"progress":true}`},
		{name: "URI", path: "fetch", body: `"hf://a/b"`},
		{name: "URI in fetch", path: "fetch", body: `{"fetch":"https://h/x"}`},
		{name: "number", path: "fetch", body: `1`, bad: true},
		{name: "list", path: "fetch", body: `[]`, bad: true},
		{name: "nothing", path: "fetch", body: `{}`, bad: true},
		{name: "unknown type", path: "fetch", body: `{"type":"ftp","value":"ftp://h/x"}`, bad: true},
		{name: "no files", path: "fetch", body: `{"type":"huggingface","repository":"a/b","filenames":[]}`, bad: true},
		{name: "prefetch", path: "prefetch", body: `{"prefetch":"https://h/x"}`},
		{name: "prefetch as fetch", path: "prefetch", body: `{"fetch":"https://h/x"}`},
		{name: "prefetch nothing", path: "prefetch", body: `{}`, bad: true},
		{name: "send A", path: "send", body: `{"send":{"type":"Peers","peers":["12D3"],"strategy":"All"},"path":"x"}`},
		{name: "send C", path: "send", body: `{"resource":` + peers + `,"path":"x"}`},
		{name: "send D", path: "send", body: `{"resource":` + peers + `,"path":"x","remove_file":true,"timeout_ms":5,"timeout":null}`},
		{name: "send bare", path: "send", body: `{"type":"Peers","peers":["12D3"],"path":"x","wait":false}`},
		{name: "send without path", path: "send", body: `{"send":` + peers + `}`, bad: true},
		{name: "send to nowhere", path: "send", body: `{"path":"x"}`, bad: true},
		{name: "send with a number", path: "send", body: `{"send":` + peers + `,"path":7}`, bad: true},
		{name: "send in no time", path: "send", body: `{"send":` + peers + `,"path":"x","timeout_ms":0}`, bad: true},
		{name: "receive A", path: "receive", body: `{"receive":{"type":"Peers","peers":[],"strategy":"All"},"out_dir":"in"}`},
		{name: "receive D", path: "receive", body: `{"resource":` + peers + `,"path":"in","timeout":{"secs_since_epoch":1,"nanos_since_epoch":2}}`},
		{name: "receive D waiting", path: "receive", body: `{"resource":` + peers + `,"timeout":null}`},
		{name: "receive with half a time", path: "receive", body: `{"resource":` + peers + `,"timeout":{"secs_since_epoch":1}}`, bad: true},
		{name: "receive before the first", path: "receive", body: `{"resource":` + peers + `,"since":-2}`, bad: true},
		{name: "receive nothing", path: "receive", body: `{}`, bad: true},
		{name: "put", path: "put", body: `{"path":"x","pin":true,"announce":null}`},
		{name: "put nothing", path: "put", body: `{}`, bad: true},
		{name: "put a truth", path: "put", body: `{"path":true}`, bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			schema := requestSchema(doc, "/resources/"+tt.path)
			var v any
			if err := json.Unmarshal([]byte(tt.body), &v); err != nil {
				t.Fatal(err)
			}
			if err := schema.VisitJSON(v, openapi3.EnableJSONSchema2020()); (err != nil) != tt.bad {
				t.Errorf("schema says %v", err)
			}
			if err := parse(tt.path, []byte(tt.body)); (err != nil) != tt.bad {
				t.Errorf("parser says %v", err)
			}
		})
	}
}

// requestSchema returns the schema of the body that is posted to a path.
func requestSchema(doc *openapi3.T, path string) *openapi3.Schema {
	return doc.Paths.Value(path).Post.RequestBody.Value.Content.Get("application/json").Schema.Value
}

// parse parses the body of a route of resources.
func parse(name string, body []byte) error {
	var err error
	switch name {
	case "fetch":
		_, err = parseFetch(body)
	case "prefetch":
		_, err = parsePrefetch(body)
	case "send":
		_, err = parseSend(body, time.Now())
	case "receive":
		_, err = parseReceive(body, http.Header{}, time.Now())
	case "put":
		_, err = parsePut(body)
	default:
		err = errRoute
	}
	return err
}

// The examples of the document are what they say: their schema and their parser
// take them.
func TestExamples(t *testing.T) {
	doc, _ := document(t)
	for path, item := range doc.Paths.Map() {
		name, ok := strings.CutPrefix(path, "/resources/")
		if !ok {
			continue
		}
		examples := item.Post.RequestBody.Value.Content.Get("application/json").Examples
		if len(examples) == 0 {
			t.Errorf("%s has no example", path)
		}
		for title, example := range examples {
			body, err := json.Marshal(example.Value.Value)
			if err != nil {
				t.Fatal(err)
			}
			if err := requestSchema(doc, path).VisitJSON(example.Value.Value, openapi3.EnableJSONSchema2020()); err != nil {
				t.Errorf("%s, %s: %v", path, title, err)
			}
			if err := parse(name, body); err != nil {
				t.Errorf("%s, %s: %s: %v", path, title, body, err)
			}
		}
	}
}
