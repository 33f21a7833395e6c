package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge"
)

const onePeer = `{"type":"peers","peers":["12D3KooWa"],"strategy":{"type":"All"}}`

// delivered is what a peer got.
func delivered(peer string) bridge.Delivered {
	return bridge.Delivered{PeerID: peer, SentBytes: 5, Status: "delivered", CID: "bafy", Checksum: "sha256:" + sum0, TransferID: "t-" + peer}
}

// The four dialects of send mean the same, options included.
func TestSendDialects(t *testing.T) {
	now := time.Unix(1000, 0)
	plain := bridge.SendRequest{Peers: []string{"12D3KooWa"}, Strategy: bridge.All, Path: "out/x"}
	change := func(f func(*bridge.SendRequest)) bridge.SendRequest {
		r := plain
		f(&r)
		return r
	}
	tests := []struct {
		name, body string
		want       bridge.SendRequest
	}{
		{"A", `{"send":{"type":"Peers","peers":["12D3KooWa"],"strategy":"All"},"path":"out/x"}`, plain},
		{"B", `{"send":` + onePeer + `,"path":"out/x"}`, plain},
		{"C", `{"resource":` + onePeer + `,"path":"out/x"}`, plain},
		{"D", `{"resource":` + onePeer + `,"path":"out/x","remove_file":true,"timeout_ms":1500}`, change(func(r *bridge.SendRequest) {
			r.RemoveFile, r.Timeout = true, 1500*time.Millisecond
		})},
		{"D with nulls", `{"resource":` + onePeer + `,"path":"out/x","remove_file":null,"timeout_ms":null,"timeout":null}`, plain},
		{"bare", `{"type":"peers","peers":["12D3KooWa"],"strategy":"ALL","path":"out/x"}`, plain},
		{"upstream's null resource", `{"send":{"type":"peers","peers":["12D3KooWa"],"strategy":{"type":"All"},"resource":null},"path":"out/x"}`, plain},
		{"no strategy", `{"send":{"type":"peers","peers":["12D3KooWa"]},"path":"out/x"}`, plain},
		{"One", `{"send":{"type":"peers","peers":["12D3KooWa","b"],"strategy":{"type":"one"}},"path":"out/x"}`, change(func(r *bridge.SendRequest) {
			r.Strategy, r.Peers = bridge.One, []string{"12D3KooWa", "b"}
		})},
		{"Random", `{"send":{"type":"PEERS","peers":["12D3KooWa"],"strategy":"RANDOM"},"path":"out/x"}`, change(func(r *bridge.SendRequest) { r.Strategy = bridge.Random })},
		{"names", `{"send":` + onePeer + `,"path":"out/x","name":"y","channel":"grads"}`, change(func(r *bridge.SendRequest) { r.Name, r.Channel = "y", "grads" })},
		{"a point in time", `{"send":` + onePeer + `,"path":"out/x","timeout":{"secs_since_epoch":1002,"nanos_since_epoch":7}}`, change(func(r *bridge.SendRequest) { r.Timeout = 2*time.Second + 7 })},
		{"the earlier of two", `{"send":` + onePeer + `,"path":"out/x","timeout_ms":1,"timeout":{"secs_since_epoch":1002,"nanos_since_epoch":7}}`, change(func(r *bridge.SendRequest) { r.Timeout = time.Millisecond })},
		{"a time that has passed", `{"send":` + onePeer + `,"path":"out/x","timeout":{"secs_since_epoch":1,"nanos_since_epoch":0}}`, change(func(r *bridge.SendRequest) { r.Timeout = 1 })},
		{"a time that never comes", `{"send":` + onePeer + `,"path":"out/x","timeout_ms":9223372036854775807}`, change(func(r *bridge.SendRequest) { r.Timeout = maxWait })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := parseSend([]byte(tt.body), now)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, c.SendRequest, cmpopts.IgnoreFields(bridge.SendRequest{}, "Progress")); diff != "" || c.now || c.progress {
				t.Error(diff)
			}
		})
	}
}

func TestS1Answer(t *testing.T) {
	var got bridge.SendRequest
	s := serve(t, Config{Job: &scripted{send: func(_ context.Context, r bridge.SendRequest) ([]bridge.Delivered, error) {
		got = r
		return []bridge.Delivered{delivered("a"), delivered("b")}, nil
	}}})
	a := s.post("/resources/send", `{"send":`+onePeer+`,"path":"out/x"}`, with("Idempotency-Key", `"k-1"`))
	const one = `{"peer_id":"%s","sent_bytes":5,"status":"delivered","cid":"bafy","checksum":"sha256:` + sum0 + `","transfer_id":"t-%[1]s"}`
	if want := "[" + fmt.Sprintf(one, "a") + "," + fmt.Sprintf(one, "b") + "]\n"; a.status != http.StatusOK || string(a.body) != want {
		t.Errorf("%d %s; want %s", a.status, a.body, want)
	}
	if got.Key != `"k-1"` || got.Path != "out/x" {
		t.Errorf("%+v", got)
	}
}

// When peers failed, the answer says which; a timeout and the node's own failures
// have their own statuses.
func TestS6Failures(t *testing.T) {
	var fail error
	s := serve(t, Config{Job: &scripted{send: func(context.Context, bridge.SendRequest) ([]bridge.Delivered, error) { return nil, fail }}})
	results := []bridge.Delivered{delivered("a"), {PeerID: "b", SentBytes: 0, Status: "failed", Error: "not_in_job", Detail: "no such job"}}
	tests := []struct {
		name    string
		err     error
		status  int
		code    string
		results int
	}{
		{"a peer", &bridge.SendError{Results: results, Err: errors.New("not_in_job: no such job")}, 502, "delivery_failed", 2},
		{"a missing peer", &bridge.SendError{Results: results, Err: fmt.Errorf("x: %w", bridge.ErrNotFound)}, 502, "delivery_failed", 2},
		{"nobody tried", &bridge.SendError{Results: []bridge.Delivered{}, Err: errors.New("x")}, 502, "delivery_failed", 0},
		{"S7 time", &bridge.SendError{Results: results, Err: fmt.Errorf("x: %w", context.DeadlineExceeded)}, 504, "timeout", 2},
		{"offline", &bridge.SendError{Results: results, Err: bridge.ErrOffline}, 503, "offline", 2},
		{"ending", &bridge.SendError{Results: results, Err: bridge.ErrClosed}, 503, "shutting_down", 2},
		{"our disk", &bridge.SendError{Results: results, Err: blockstore.ErrNoSpace}, 507, "no_space", 2},
		{"S5 no file", fmt.Errorf("x: %w", bridge.ErrNotFound), 404, "not_found", -1},
		{"S5 no regular file", &bridge.PathError{Path: "x", Err: errors.New("is a FIFO")}, 400, "invalid_path", -1},
		{"S10 changed", fmt.Errorf("x: %w", bridge.ErrConflict), 409, "conflict", -1},
		{"too much", fmt.Errorf("x: %w", bridge.ErrBusy), 429, "busy", -1},
		{"quota", fmt.Errorf("x: %w", bridge.ErrQuota), 507, "quota_exceeded", -1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fail = tt.err
			a := s.post("/resources/send", `{"send":`+onePeer+`,"path":"x"}`)
			p := a.problem(t)
			if a.status != tt.status || p.Error != tt.code {
				t.Errorf("%d %s", a.status, a.body)
			}
			if have := strings.Contains(string(a.body), `"results":[`); have != (tt.results >= 0) || have && len(p.Results) != tt.results {
				t.Errorf("%s", a.body)
			}
		})
	}
}

// Work that goes on without its client is named by its transfer.
func TestS9Later(t *testing.T) {
	job := &scripted{later: "T1", transfers: func() []bridge.Transfer {
		return []bridge.Transfer{{ID: "T1", Kind: "send", State: "running", Name: "x", Total: -1, Started: time.Unix(1, 0).UTC()}}
	}}
	s := serve(t, Config{Job: job})
	const want = `{"transfer_id":"T1"}` + "\n"
	a := s.post("/resources/send", `{"send":`+onePeer+`,"path":"x","wait":false}`)
	if a.status != http.StatusAccepted || string(a.body) != want || a.header.Get("Location") != "/transfers/T1" {
		t.Errorf("%d %s %v", a.status, a.body, a.header)
	}
	for _, body := range []string{`{"prefetch":"https://h/x"}`, `{"fetch":"https://h/x"}`, `{"type":"uri","value":"https://h/x"}`, `"https://h/x"`, `{"resource":"https://h/x"}`} {
		a = s.post("/resources/prefetch", body)
		if a.status != http.StatusAccepted || string(a.body) != want {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	asked := job.notes()
	if r, ok := asked[0].(bridge.SendRequest); !ok || r.Path != "x" {
		t.Errorf("%+v", asked[0])
	}
	for _, v := range asked[1:] {
		if r, ok := v.(bridge.FetchRequest); !ok || r.Ref.Value != "https://h/x" {
			t.Errorf("%+v", v)
		}
	}
	if a = s.get("/transfers/T1"); a.status != http.StatusOK || !strings.Contains(string(a.body), `"id":"T1"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a = s.get("/transfers"); a.status != http.StatusOK || !strings.HasPrefix(string(a.body), `[{"id":"T1"`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a = s.do(t.Context(), http.MethodDelete, "/transfers/T1", "", ""); a.status != http.StatusNoContent || len(a.body) != 0 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if asked = job.notes(); asked[len(asked)-1] != "T1" {
		t.Errorf("%v", asked)
	}
}

func TestIdempotencyKey(t *testing.T) {
	for key, good := range map[string]bool{
		"": true, "a": true, `"8e03978e-40d5-43dd-bc93-6894a57f9324"`: true, strings.Repeat("k", maxKey): true,
		strings.Repeat("k", maxKey+1): false, "two words": false, "ü": false, "a\tb": false,
	} {
		got, err := idempotencyKey(http.Header{"Idempotency-Key": {key}}, "")
		if (err == nil) != good || good && got != key {
			t.Errorf("%q: %q, %v", key, got, err)
		}
		if got, err := idempotencyKey(nil, key); (err == nil) != good || good && got != key {
			t.Errorf("transfer_id %q: %q, %v", key, got, err)
		}
	}
	for _, keys := range [][]string{{"a", "b"}, {"b"}} {
		if _, err := idempotencyKey(http.Header{"Idempotency-Key": keys}, "a"); !errors.Is(err, errValue) {
			t.Errorf("%q with transfer_id a: %v", keys, err)
		}
	}
}

// A client that asks for progress, and takes events, gets events.
func TestProgress(t *testing.T) {
	at := func(done int64) bridge.Transfer {
		return bridge.Transfer{ID: "T", Kind: "send", State: "running", Name: "x", Done: done, Total: 9, Started: time.Unix(1, 0).UTC()}
	}
	var fail error
	release := make(chan struct{})
	tell := func(progress func(bridge.Transfer)) {
		for i := range int64(10) {
			progress(at(i))
		}
	}
	s := serve(t, Config{Job: &scripted{
		send: func(_ context.Context, r bridge.SendRequest) ([]bridge.Delivered, error) {
			if r.Progress == nil {
				return []bridge.Delivered{}, fail
			}
			tell(r.Progress)
			if fail != nil {
				<-release
			}
			return []bridge.Delivered{delivered("a")}, fail
		},
		fetch: func(_ context.Context, r bridge.FetchRequest) ([]bridge.Result, error) {
			if r.Progress == nil {
				return []bridge.Result{}, fail
			}
			tell(r.Progress)
			return []bridge.Result{}, fail
		},
	}})
	events := with("Accept", eventStream)
	for path, body := range map[string]string{
		"/resources/send":           `{"send":` + onePeer + `,"path":"x","progress":true}`,
		"/resources/send?progress":  `{"send":` + onePeer + `,"path":"x"}`,
		"/resources/fetch":          `{"fetch":"https://h/x","progress":true}`,
		"/resources/fetch?progress": `"https://h/x"`,
	} {
		st := s.open(path, body, events)
		all := st.end()
		last, before := all[len(all)-1], all[len(all)-2]
		if last.name != "result" || before.name != "progress" || !strings.Contains(before.data, `"done":9`) {
			t.Errorf("%s: %+v", path, all)
		}
		for _, e := range all {
			s.checkEvent(strings.TrimSuffix(path, "?progress"), e)
		}
	}
	const plain = `{"send":` + onePeer + `,"path":"x"}`
	for name, a := range map[string]answer{
		"not asked":      s.post("/resources/send", plain, events),
		"asked not to":   s.post("/resources/send?progress=false", plain, events),
		"takes no event": s.post("/resources/send?progress=1", plain, with("Accept", "*/*")),
	} {
		if a.status != http.StatusOK || string(a.body) != "[]\n" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	fail = &bridge.SendError{Results: []bridge.Delivered{delivered("a")}, Err: errors.New("gone")}
	st := s.open("/resources/send?progress=1", plain, events) // the status is out
	close(release)
	all := st.end()
	if last := all[len(all)-1]; last.name != "error" || !strings.Contains(last.data, `"error":"delivery_failed"`) || !strings.Contains(last.data, `"results":[{`) {
		t.Errorf("%+v", all)
	}
}

// What fails before there is any progress has its own status.
func TestProgressRefusal(t *testing.T) {
	s := serve(t, Config{KeepAlive: time.Hour, Job: &scripted{send: func(context.Context, bridge.SendRequest) ([]bridge.Delivered, error) {
		return nil, bridge.ErrNotFound
	}}})
	a := s.post("/resources/send?progress", `{"send":`+onePeer+`,"path":"x"}`, with("Accept", eventStream))
	if a.status != http.StatusNotFound || a.problem(t).Error != "not_found" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestP1Reports(t *testing.T) {
	type call struct{ route, body string }
	var got []call
	answer := `{"n":123456789012345678901234567890,"x":1.10e+3,"s":"\u00e9\/<>"  ,"s":2}` + "\n\n"
	s := serve(t, Config{Job: &scripted{report: func(route string, body json.RawMessage) (json.RawMessage, error) {
		got = append(got, call{route, string(body)})
		return json.RawMessage(answer), nil
	}}})
	var want []call
	for _, route := range []string{"/status/send", "/action/update", "/job/progress"} {
		for _, body := range []string{
			`"updated"`, `{"metrics":{"round":1,"metrics":{"loss":0.10000000000000000555111512312578270211815834045410}}}`,
			"\t{\"b\" : 1e400 , \"a\":\"\\u0041\", \"a\":null}\r\n ", `[]`, `null`, `9007199254740993`,
		} {
			if a := s.post(route, body); a.status != http.StatusOK || string(a.body) != answer {
				t.Errorf("%s %s: %d %s", route, body, a.status, a.body)
			}
			want = append(want, call{route, body})
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	if a := s.post("/status/send", `{"a":`); a.status != http.StatusBadRequest || a.problem(t).Error != "invalid_json" {
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestPut(t *testing.T) {
	var got bridge.PutRequest
	s := serve(t, Config{Job: &scripted{put: func(r bridge.PutRequest) (bridge.Published, error) {
		got = r
		if r.Path == "dir" {
			return bridge.Published{CID: "bafy", Size: 7}, nil
		}
		return bridge.Published{CID: "bafy", Size: 5, Checksum: "sha256:" + sum0}, nil
	}}})
	tests := []struct {
		body string
		want bridge.PutRequest
		sum  string
	}{
		{`{"path":"x"}`, bridge.PutRequest{Path: "x"}, `,"checksum":"sha256:` + sum0 + `"`},
		{`{"path":"x","pin":true,"announce":true}`, bridge.PutRequest{Path: "x", Pin: true, Announce: true}, `,"checksum":"sha256:` + sum0 + `"`},
		{`{"path":"dir","pin":null,"announce":false}`, bridge.PutRequest{Path: "dir"}, ""},
	}
	for _, tt := range tests {
		a := s.post("/resources/put", tt.body)
		size := map[bool]int{true: 7, false: 5}[tt.sum == ""]
		if want := fmt.Sprintf(`{"cid":"bafy","size":%d%s}`, size, tt.sum) + "\n"; a.status != http.StatusOK || string(a.body) != want || got != tt.want {
			t.Errorf("%s: %d %s, %+v", tt.body, a.status, a.body, got)
		}
	}
}
