package rest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/connectors"
)

func TestBodies(t *testing.T) {
	var got bridge.FetchRequest
	s := serve(t, Config{Job: &scripted{fetch: func(_ context.Context, r bridge.FetchRequest) ([]bridge.Result, error) {
		got = r
		return []bridge.Result{}, nil
	}}})
	const good = `{"type":"uri","value":"https://example.org/x"}`
	tests := []struct {
		name, media, body string
		status            int
		code, detail      string
	}{
		{"good", "application/json", good, 200, "", ""},
		{"charset", "application/json; charset=utf-8", good, 200, "", ""},
		{"capitals", "Application/JSON", good, 200, "", ""},
		{"unknown fields", "application/json", `{"type":"uri","value":"https://example.org/x","future":{"a":[1]}}`, 200, "", ""},
		{"null fields", "application/json", `{"fetch":{"type":"uri","value":"https://example.org/x","token":null},"out_dir":null}`, 200, "", ""},
		{"white space", "application/json", "\n " + good + " \n", 200, "", ""},
		{"no type", "", good, 415, "unsupported_media_type", ""},
		{"text", "text/plain", good, 415, "unsupported_media_type", ""},
		{"form", "application/x-www-form-urlencoded", good, 415, "unsupported_media_type", ""},
		{"broken media type", "application/json; x", good, 415, "unsupported_media_type", ""},
		{"empty", "application/json", "", 400, "invalid_json", ""},
		{"cut", "application/json", good[:20], 400, "invalid_json", ""},
		{"two values", "application/json", good + good, 400, "invalid_json", ""},
		{"no JSON", "application/json", "fetch please", 400, "invalid_json", ""},
		{"single quotes", "application/json", `{'type':'uri'}`, 400, "invalid_json", ""},
		{"deep", "application/json", `{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`, 400, "invalid_json", "32 levels"},
		{"very deep", "application/json", strings.Repeat("[", 1<<19), 400, "invalid_json", "32 levels"},
		{"deep in a string", "application/json", `{"type":"uri","value":"https://example.org/x","note":"` + strings.Repeat("[", 99) + `"}`, 200, "", ""},
		{"number", "application/json", "1", 422, "invalid_request", ""},
		{"list", "application/json", "[" + good + "]", 422, "invalid_request", ""},
		{"null", "application/json", "null", 422, "invalid_request", ""},
		{"true", "application/json", "true", 422, "invalid_request", ""},
		{"nothing in it", "application/json", "{}", 422, "invalid_request", "type"},
		{"fetch is null", "application/json", `{"fetch":null}`, 422, "invalid_request", "type"},
		{"fetch is a number", "application/json", `{"fetch":7}`, 422, "invalid_request", "fetch"},
		{"out_dir is a number", "application/json", `{"fetch":` + good + `,"out_dir":7}`, 422, "invalid_request", "out_dir"},
		{"out_dir is a list", "application/json", `{"fetch":` + good + `,"out_dir":["a"]}`, 422, "invalid_request", "out_dir"},
		{"type is a number", "application/json", `{"type":7}`, 422, "invalid_request", "type"},
		{"value is an object", "application/json", `{"fetch":{"type":"uri","value":{}}}`, 422, "invalid_request", "fetch.value"},
		{"filenames is a number", "application/json", `{"type":"huggingface","repository":"a/b","filenames":7}`, 422, "invalid_request", "filenames"},
		{"a filename is a number", "application/json", `{"type":"huggingface","repository":"a/b","filenames":["a",7]}`, 400, "invalid_request", "filenames"},
		{"no filenames", "application/json", `{"type":"huggingface","repository":"a/b","filenames":[]}`, 400, "invalid_request", "filenames"},
		{"no repository", "application/json", `{"type":"huggingface","filenames":["x"]}`, 400, "invalid_request", "repository"},
		{"blank repository", "application/json", `{"type":"huggingface","repository":" ","filenames":["x"]}`, 400, "invalid_request", "repository"},
		{"unknown type", "application/json", `{"type":"ftp","value":"ftp://h/x"}`, 400, "invalid_request", "ftp"},
		{"unknown scheme", "application/json", `"gopher://h/x"`, 400, "invalid_request", "gopher"},
		{"file scheme", "application/json", `{"type":"uri","value":"file:///etc/passwd"}`, 400, "invalid_request", ""},
		{"no host", "application/json", `{"type":"uri","value":"https:///x"}`, 400, "invalid_request", "value"},
		{"bad host", "application/json", `{"type":"uri","value":"https://a b/x"}`, 400, "invalid_request", "value"},
		{"bad checksum", "application/json", `{"type":"uri","value":"https://h/x","checksum":"md5:00"}`, 400, "invalid_request", "checksum"},
		{"bad CID", "application/json", `{"type":"cids","values":["nope"]}`, 400, "invalid_request", "values"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got = bridge.FetchRequest{}
			a := s.do(t.Context(), http.MethodPost, "/resources/fetch", tt.media, tt.body)
			if a.status != tt.status {
				t.Fatalf("status %d: %s; want %d", a.status, a.body, tt.status)
			}
			if tt.status == http.StatusOK {
				if got.Ref.Value != "https://example.org/x" {
					t.Errorf("reference %v", got.Ref)
				}
				return
			}
			p := a.problem(t)
			if p.Error != tt.code || !strings.Contains(p.Detail, tt.detail) {
				t.Errorf("%+v; want %s with %q", p, tt.code, tt.detail)
			}
			if got.Ref.Type != "" {
				t.Error("the job was asked all the same")
			}
		})
	}
}

// The four dialects say the same.
func TestDialects(t *testing.T) {
	const ref = `{"type":"huggingface","repository":"a/b","revision":"main","filenames":["x","y"]}`
	tests := []struct{ name, body, dir string }{
		{"A RFC", `{"fetch":{"type":"HuggingFace","repository":"a/b","revision":"main","filenames":["x","y"]},"out_dir":"artifacts"}`, "artifacts"},
		{"A without directory", `{"fetch":` + ref + `}`, ""},
		{"B bare", ref, ""},
		{"C with nulls", `{"type":"huggingface","repository":"a/b","revision":"main","filenames":["x","y"],"token":null}`, ""},
		{"D resource", `{"resource":` + ref + `,"out_dir":"d"}`, "d"},
		{"bare with a directory", strings.Replace(ref, "{", `{"out_dir":"d",`, 1), "d"},
		{"a resource of a typed reference is its own", strings.Replace(ref, "{", `{"resource":{"dataset":"d","index":0},`, 1), ""},
		{"tag with underscore", strings.Replace(ref, "huggingface", "hugging_face", 1), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req, err := parseFetch([]byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			r := req.Ref
			if r.Type != connectors.TypeHuggingFace || r.Repository != "a/b" || r.Revision != "main" || strings.Join(r.Filenames, " ") != "x y" {
				t.Errorf("reference %#v", r)
			}
			if req.OutDir != tt.dir {
				t.Errorf("directory %q, want %q", req.OutDir, tt.dir)
			}
		})
	}
	for _, body := range []string{`"hf://a/b@main/x"`, `{"fetch":"hf://a/b@main/x"}`, `{"resource":"hf://a/b@main/x"}`} {
		req, err := parseFetch([]byte(body))
		if err != nil || req.Ref.Repository != "a/b" || strings.Join(req.Ref.Filenames, " ") != "x" {
			t.Errorf("%s: %v, %v", body, req.Ref, err)
		}
	}
}

func TestBodyLimit(t *testing.T) {
	s := serve(t, Config{Job: &scripted{}})
	const head, tail = `{"type":"uri","value":"https://h/x","pad":"`, `"}`
	pad := func(n int) string { return head + strings.Repeat("a", n-len(head)-len(tail)) + tail }
	for _, n := range []int{smallBody - 1, smallBody, smallBody + 1, maxBody} {
		if a := s.fetch(pad(n)); a.status != http.StatusOK {
			t.Errorf("%d bytes: %d %s", n, a.status, a.body)
		}
	}
	if a := s.fetch(pad(maxBody + 1)); a.status != http.StatusRequestEntityTooLarge || a.problem(t).Error != "too_large" {
		t.Errorf("a body too large: %d %s", a.status, a.body)
	}
	// Without a length, the end is found by reading.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://bridge/resources/fetch",
		io.MultiReader(strings.NewReader(pad(maxBody+1))))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a chunked body too large: %s", resp.Status)
	}
}

func TestEncodedBodyIsRefused(t *testing.T) {
	s := serve(t, Config{Job: &scripted{}})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://bridge/resources/fetch", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Content-Encoding", "gzip")
	resp, err := s.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnsupportedMediaType {
		t.Error(resp.Status)
	}
}

// A client that never sends the rest of its body is answered and dropped.
func TestSlowBody(t *testing.T) {
	s := serve(t, Config{Job: &scripted{}, BodyTimeout: 50 * time.Millisecond})
	for _, sent := range []string{"", `{"type":`, strings.Repeat(" ", smallBody+1)} {
		conn := dial(t, s.socket)
		fmt.Fprintf(conn, "POST /resources/fetch HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 500000\r\n\r\n%s", sent)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != http.StatusRequestTimeout {
			t.Errorf("%d bytes sent: %s", len(sent), resp.Status)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Error(err)
		}
		resp.Body.Close()
		if _, err := io.Copy(io.Discard, conn); err != nil { // until the server closes
			t.Error(err)
		}
		conn.Close()
	}
}
