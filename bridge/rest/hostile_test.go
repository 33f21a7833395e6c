package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/hypha-node/hypha-node/bridge"
)

// counting returns a job that only counts what it is asked for.
func counting() (*scripted, func() int) {
	var mu sync.Mutex
	n := 0
	ask := func() {
		mu.Lock()
		defer mu.Unlock()
		n++
	}
	job := &scripted{
		later: "T",
		fetch: func(context.Context, bridge.FetchRequest) ([]bridge.Result, error) {
			ask()
			return []bridge.Result{}, nil
		},
		send: func(context.Context, bridge.SendRequest) ([]bridge.Delivered, error) {
			ask()
			return []bridge.Delivered{}, nil
		},
		receive: func(context.Context, bridge.ReceiveRequest) iter.Seq2[bridge.Received, error] {
			ask()
			return func(func(bridge.Received, error) bool) {}
		},
		put: func(bridge.PutRequest) (bridge.Published, error) {
			ask()
			return bridge.Published{CID: "b"}, nil
		},
	}
	return job, func() int {
		mu.Lock()
		defer mu.Unlock()
		return n + len(job.notes())
	}
}

// values are one of each kind of JSON, and hostile ones of each kind.
func values() map[string][]string {
	long := strings.Repeat("a", smallBody+1)
	return map[string][]string{
		"null":   {`null`},
		"truth":  {`true`, `false`},
		"number": {`7`, `0`, `-1`, `1.5`, `1e999`, `-0`, `99999999999999999999999999`, `18446744073709551616`},
		"string": {
			`"x"`, `""`, `" "`, `"\u0000"`, `"..\/x"`, `"/etc/passwd"`, `"a\nb"`, `"\ud800"`, `"\u202e"`, `"%2e%2e"`, "\"\xff\xfe\"",
			`"` + long + `"`, `"true"`, `"7"`, `"{}"`,
		},
		"list":   {`[]`, `["x"]`, `[null]`, `[[]]`, `[7]`, `[{}]`, `["` + strings.Repeat(`x","`, 20_000) + `"]`},
		"object": {`{}`, `{"type":"All"}`, `{"type":null}`, `{"type":7}`, `{"":""}`, `{"secs_since_epoch":-1,"nanos_since_epoch":0}`, `{"secs_since_epoch":1,"nanos_since_epoch":1000000000}`, `{"secs_since_epoch":18446744073709551615,"nanos_since_epoch":0}`},
	}
}

// TestEveryField puts every kind of JSON, and hostile values, into every field of
// every body. A wrong kind is refused as such, and the job is not asked.
func TestEveryField(t *testing.T) {
	const hf = `{"type":"huggingface","repository":"a/b","filenames":["x"]}`
	job, asked := counting()
	s := serve(t, Config{Job: job})
	tests := []struct {
		path, body string
		fields     map[string]string // field => kinds that it may be, apart from null
	}{
		{"/resources/fetch", `{"fetch":` + hf + `,"out_dir":"d","progress":false}`, map[string]string{
			"fetch": "object string", "out_dir": "string", "progress": "truth",
			"fetch.type": "string", "fetch.repository": "string", "fetch.revision": "string", "fetch.repo_type": "string",
			"fetch.filenames": "list string", "fetch.allow_patterns": "list string", "fetch.ignore_patterns": "list string",
			"fetch.token": "string", "fetch.checksum": "string", "fetch.filename": "string",
		}},
		{"/resources/fetch", `{"resource":{"type":"uri","value":"https://h/x"}}`, map[string]string{
			"resource": "object string", "resource.value": "string list", "resource.headers": "object", "resource.filename": "string", "resource.checksum": "string",
		}},
		{"/resources/fetch", `{"type":"cids","values":["bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"]}`, map[string]string{"type": "string", "values": "list string"}},
		{"/resources/prefetch", `{"prefetch":` + hf + `}`, map[string]string{"prefetch": "object string", "prefetch.type": "string", "prefetch.filenames": "list string"}},
		{"/resources/send", `{"send":` + onePeer + `,"path":"x"}`, map[string]string{
			"send": "object string", "path": "string", "name": "string", "channel": "string", "remove_file": "truth", "wait": "truth",
			"progress": "truth", "timeout_ms": "number", "timeout": "object",
			"send.type": "string", "send.peers": "list", "send.strategy": "string object", "send.resource": "object",
		}},
		{"/resources/receive", `{"receive":` + anyPeer + `}`, map[string]string{
			"receive": "object string", "out_dir": "string", "path": "string", "channel": "string", "timeout": "object", "timeout_ms": "number",
			"stream": "truth", "since": "number", "progress": "truth",
			"receive.type": "string", "receive.peers": "list", "receive.strategy": "string object",
		}},
		{"/resources/put", `{"path":"x"}`, map[string]string{"path": "string", "pin": "truth", "announce": "truth"}},
	}
	for _, tt := range tests {
		for _, field := range slices.Sorted(maps.Keys(tt.fields)) {
			for _, kind := range slices.Sorted(maps.Keys(values())) {
				may := kind == "null" || slices.Contains(strings.Fields(tt.fields[field]), kind)
				for _, v := range values()[kind] {
					body := replaced(t, tt.body, field, v)
					before := asked()
					a, _, err := s.try(t.Context(), http.MethodPost, tt.path, "application/json", body)
					if err != nil {
						t.Fatal(err)
					}
					name := fmt.Sprintf("%s, %s = %.60s", tt.path, field, v)
					switch {
					case a.status < 300 && !may:
						t.Errorf("%s: taken", name)
					case a.status < 300:
						continue
					case a.status != 400 && a.status != 422:
						t.Errorf("%s: %d %.300s", name, a.status, a.body)
					case !may && a.status != 422 && !strings.Contains(field, "send.resource"):
						t.Errorf("%s: a wrong kind is %d %.300s", name, a.status, a.body)
					case asked() != before:
						t.Errorf("%s: refused, and the job was asked", name)
					}
					s.checkSchema("Error", a.body)
				}
			}
		}
	}
}

// replaced returns the body with another value in a field, "outer.inner".
func replaced(t *testing.T, body, field, value string) string {
	t.Helper()
	top := map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte(body), &top); err != nil {
		t.Fatal(err)
	}
	at := top
	outer, inner, nested := strings.Cut(field, ".")
	if nested {
		at = map[string]json.RawMessage{}
		if err := json.Unmarshal(top[outer], &at); err != nil {
			t.Fatal(err)
		}
		field = inner
	}
	delete(at, field)
	// Written by hand: the value may be no valid JSON.
	var b strings.Builder
	b.WriteByte('{')
	for _, k := range slices.Sorted(maps.Keys(at)) {
		fmt.Fprintf(&b, "%q:%s,", k, at[k])
	}
	fmt.Fprintf(&b, "%q:%s}", field, value)
	if !nested {
		return b.String()
	}
	rest := "{"
	for _, k := range slices.Sorted(maps.Keys(top)) {
		if k != outer {
			rest += fmt.Sprintf("%q:%s,", k, top[k])
		}
	}
	return rest + fmt.Sprintf("%q:%s}", outer, b.String())
}

// Bodies that are too large, of another type or no JSON are refused on every
// route that takes one.
func TestEveryRouteGuardsItsBody(t *testing.T) {
	job, asked := counting()
	s := serve(t, Config{Job: job, BodyTimeout: time.Minute})
	large := `{"pad":"` + strings.Repeat("a", maxBody) + `"}`
	for _, rt := range routes() {
		if rt.method != http.MethodPost {
			continue
		}
		for _, tt := range []struct {
			name, media, body string
			status            int
		}{
			{"too large", "application/json", large, 413},
			{"no type", "", `{}`, 415},
			{"text", "text/plain", `{}`, 415},
			{"empty", "application/json", ``, 400},
			{"cut", "application/json", `{"path":"x"`, 400},
			{"two", "application/json", `{} {}`, 400},
			{"deep", "application/json", strings.Repeat("[", 1000) + strings.Repeat("]", 1000), 400},
		} {
			if a := s.do(t.Context(), rt.method, rt.path, tt.media, tt.body); a.status != tt.status {
				t.Errorf("%s, %s: %d %s", rt.path, tt.name, a.status, a.body)
			}
		}
	}
	if asked() != 0 {
		t.Error("the job was asked")
	}
}

// fuzzBody fuzzes the body of a route, with headers for what some of them read.
func fuzzBody(f *testing.F, path string, seeds ...string) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	job, _ := counting()
	h := New(Config{Job: job})
	doc, _ := document(f)
	refusal := doc.Components.Schemas["Error"].Value
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "http://bridge"+path, bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		switch w.Code {
		case http.StatusOK, http.StatusAccepted, http.StatusNoContent: // the parsers take more spellings than the document shows
			return
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		default:
			t.Fatalf("%q: %d %s", body, w.Code, w.Body)
		}
		var v any
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		if err := refusal.VisitJSON(v, openapi3.EnableJSONSchema2020()); err != nil {
			t.Fatalf("%q: %s: %v", body, w.Body, err)
		}
	})
}

func FuzzFetchBody(f *testing.F) {
	fuzzBody(f, "/resources/fetch",
		`{"fetch":{"type":"HuggingFace","repository":"a/b","filenames":["x"]},"out_dir":"artifacts"}`,
		`{"type":"uri","value":"https://h/x","checksum":"sha256:00"}`, `"hf://a/b"`, `{"resource":{"type":"cids","values":["bafy"]}}`,
		`{"type":"peers","peers":["12D3"],"strategy":{"type":"All"}}`, `{}`, `[]`, `null`, `{"fetch":null,"resource":"x"}`,
		`{"type":"s3","value":"s3://b/k"}`, `{"type":"uri","value":"https://h/x","headers":{"a":"b"}}`, `{"fetch":{"fetch":{}}}`, "\x00", `"\ud800"`)
}

func FuzzSendBody(f *testing.F) {
	fuzzBody(f, "/resources/send",
		`{"send":{"type":"Peers","peers":["12D3KooWa"],"strategy":"All"},"path":"output/results.json"}`,
		`{"resource":`+onePeer+`,"path":"x","remove_file":true,"timeout_ms":60000}`,
		`{"type":"peers","peers":["a","b"],"strategy":{"type":"Random"},"path":"x","wait":false,"name":"n","channel":"c"}`,
		`{"send":`+onePeer+`,"path":"x","timeout":{"secs_since_epoch":1790000000,"nanos_since_epoch":999999999}}`,
		`{"send":`+onePeer+`,"path":"x","timeout_ms":-9223372036854775808}`, `{"send":{"type":"peers"},"path":null}`, `{"path":"x"}`, `"hf://a/b"`, `[]`)
}

func FuzzReceiveBody(f *testing.F) {
	fuzzBody(f, "/resources/receive",
		`{"receive":{"type":"Peers","peers":[],"strategy":"All"},"out_dir":"incoming"}`, `{"resource":`+anyPeer+`,"path":"incoming","timeout":null}`,
		`{"resource":`+anyPeer+`,"timeout":{"secs_since_epoch":18446744073709551615,"nanos_since_epoch":0}}`, `{"receive":`+anyPeer+`,"since":-1,"stream":true}`,
		`{"receive":`+anyPeer+`,"timeout_ms":9223372036854775807,"timeout":{"secs_since_epoch":0,"nanos_since_epoch":0}}`,
		`{"receive":{"type":"peers","peers":["x"],"strategy":"Random"}}`, `{"receive":{"type":"uri","value":"https://h/x"}}`, `{}`, `7`)
}

func FuzzPutBody(f *testing.F) {
	fuzzBody(f, "/resources/put", `{"path":"x","pin":true,"announce":false}`, `{"path":"../x"}`, `{"path":["x"]}`, `{"pin":1}`, `"x"`, `null`, `{"path":"x","path":null}`)
}

// FuzzLastEventID: whatever the header and "since" say, they are taken as a
// number or refused.
func FuzzLastEventID(f *testing.F) {
	for _, s := range []string{"", "0", "-1", "-2", "9223372036854775807", "9223372036854775808", " 1", "1\r\nX: y", "\x00", "0x10", "1_000", "+5", "٣"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var seven int64 = 7
		got, err := lastEvent(http.Header{"Last-Event-Id": {s}}, &seven)
		switch {
		case s == "" && (err != nil || got != &seven):
			t.Fatal("an empty header is none")
		case err == nil && (got == nil || *got < -1):
			t.Fatalf("%q gave %v", s, got)
		case err != nil && got != nil:
			t.Fatalf("%q gave a number and an error", s)
		}
		f, err := readFields([]byte(`{"since":` + s + `}`))
		if err != nil {
			return
		}
		if n, ok := f.whole("since", -1); ok && (n < -1 || f.err != nil) {
			t.Fatalf("%q gave %d, %v", s, n, f.err)
		}
	})
}
