package rest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/connectors"
)

const anyPeer = `{"type":"peers","peers":[],"strategy":{"type":"All"}}`

// queue is a job with an inbox.
func queue(n int) (*inbox, *scripted) {
	b := newInbox(n)
	return b, &scripted{receive: b.receive}
}

// The headers of a stream come at once, items as they arrive, one line each.
func TestR1Events(t *testing.T) {
	b, job := queue(0)
	s := serve(t, Config{Job: job, Grace: time.Millisecond})
	st := s.open("/resources/receive", `{"receive":{"type":"Peers","peers":[],"strategy":"All"},"out_dir":"incoming"}`)
	for i := range int64(3) {
		b.put()
		e := st.next()
		s.checkEvent("/resources/receive", e)
		if e.id != strconv.FormatInt(i, 10) || e.name != "" || !strings.Contains(e.data, fmt.Sprintf(`"sequence":%d,`, i)) || !strings.Contains(e.data, `"name":"<m`) {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	bridgetest.Until(t, "three items acknowledged", func() bool { _, acked := b.state(); return len(acked) == 3 })
	s.stop() // the stream ends as it should, not by a broken connection
	if events := st.end(); len(events) != 0 {
		t.Errorf("%+v", events)
	}
	if waiting, acked := b.state(); waiting != 0 || !slices.Equal(acked, []int64{0, 1, 2}) {
		t.Errorf("%d wait, %v acknowledged", waiting, acked)
	}
}

// A stream without items shows that it lives, in comments alone.
func TestKeepAlive(t *testing.T) {
	_, job := queue(0)
	s := serve(t, Config{Job: job, KeepAlive: time.Millisecond})
	st := s.open("/resources/receive", `{"receive":`+anyPeer+`}`)
	defer st.close()
	for range 10 {
		if e, err := readEvent(st.r); err != nil || e != (event{comment: "keepalive"}) {
			t.Errorf("%+v, %v", e, err)
		}
	}
}

// A client that goes away is noticed though nothing is written, and what comes
// then goes to the next one.
func TestR10Gone(t *testing.T) {
	b, job := queue(1)
	ended := make(chan struct{})
	receive := job.receive
	job.receive = func(ctx context.Context, r bridge.ReceiveRequest) iter.Seq2[bridge.Received, error] {
		return func(yield func(bridge.Received, error) bool) {
			receive(ctx, r)(yield)
			if r.Strategy == bridge.All {
				close(ended)
			}
		}
	}
	s := serve(t, Config{Job: job, KeepAlive: time.Hour})
	st := s.open("/resources/receive", `{"receive":`+anyPeer+`}`)
	if e := st.next(); e.id != "0" {
		t.Errorf("%+v", e)
	}
	bridgetest.Until(t, "the item acknowledged", func() bool { _, acked := b.state(); return len(acked) == 1 })
	st.close()
	bridgetest.Wait(t, ended, "the end of the receive")
	b.put()
	again := s.post("/resources/receive", `{"receive":{"type":"peers","strategy":"one"},"stream":false}`)
	if again.status != http.StatusOK || !strings.Contains(string(again.body), `"sequence":1,`) {
		t.Errorf("%d %s", again.status, again.body)
	}
}

// An item that could not be written goes back to the inbox: here to a client that
// is gone when the item comes, but was not noticed yet.
func TestR10UndeliveredGoesBack(t *testing.T) {
	for _, single := range []bool{false, true} {
		t.Run(fmt.Sprint("single ", single), func(t *testing.T) {
			b, job := queue(1)
			waiting, gone, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
			receive := job.receive
			job.receive = func(ctx context.Context, r bridge.ReceiveRequest) iter.Seq2[bridge.Received, error] {
				return func(yield func(bridge.Received, error) bool) {
					defer close(done)
					if r.Ready != nil {
						r.Ready()
					}
					close(waiting)
					<-gone
					r.Ready = nil
					receive(ctx, r)(yield)
				}
			}
			s := serve(t, Config{Job: job})
			conn := dial(t, s.socket)
			body := fmt.Sprintf(`{"receive":%s,"stream":%v}`, anyPeer, !single)
			fmt.Fprintf(conn, "POST /resources/receive HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			bridgetest.Wait(t, waiting, "the receive")
			conn.Close()
			close(gone)
			bridgetest.Wait(t, done, "the end of the receive")
			if n, acked := b.state(); n != 1 || len(acked) != 0 {
				t.Errorf("%d wait, %v acknowledged; want the item back", n, acked)
			}
		})
	}
}

// Who gets events and who gets one object: rule 4 of the dialects.
func TestReceiveMode(t *testing.T) {
	const timeout = `"timeout":{"secs_since_epoch":1,"nanos_since_epoch":0}`
	tests := []struct {
		name, body, accept string
		stream             bool
	}{
		{"A", `{"receive":R}`, "", true},
		{"B", `{"receive":R}`, "*/*", true},
		{"C", `{"resource":R,"path":"incoming"}`, "text/event-stream", true},
		{"D", `{"resource":R,"path":"incoming",` + timeout + `}`, "*/*", false},
		{"D without end", `{"resource":R,"path":"incoming","timeout":null}`, "*/*", false},
		{"milliseconds", `{"resource":R,"timeout_ms":0}`, "", false},
		{"a client of JSON", `{"receive":R}`, "application/json", false},
		{"a client of both", `{"receive":R}`, "application/json, text/event-stream", true},
		{"events though a timeout", `{"resource":R,` + timeout + `}`, "Text/Event-Stream", true},
		{"asked for events", `{"receive":R,"stream":true,` + timeout + `}`, "application/json", true},
		{"asked for one", `{"receive":R,"stream":false}`, "*/*", false},
		{"events by header", `{"receive":R,"stream":false}`, "text/event-stream", true},
		{"null says nothing", `{"receive":R,"stream":null}`, "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			header := http.Header{}
			if tt.accept != "" {
				header.Set("Accept", tt.accept)
			}
			c, err := parseReceive([]byte(strings.ReplaceAll(tt.body, "R", anyPeer)), header, time.Now())
			if err != nil || c.stream != tt.stream {
				t.Errorf("stream %v, %v", c.stream, err)
			}
		})
	}
}

func TestR11SingleShot(t *testing.T) {
	b, job := queue(2)
	s := serve(t, Config{Job: job})
	const past = `{"resource":` + anyPeer + `,"path":"incoming-x","timeout":{"secs_since_epoch":1,"nanos_since_epoch":5}}`
	for i := range 2 { // what is queued is given though the deadline has passed
		a := s.post("/resources/receive", past)
		if a.status != http.StatusOK || !strings.Contains(string(a.body), fmt.Sprintf(`"sequence":%d,`, i)) {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	for _, body := range []string{past, `{"resource":` + anyPeer + `,"timeout_ms":0}`, `{"resource":` + anyPeer + `,"timeout_ms":1}`} {
		if a := s.post("/resources/receive", body); a.status != http.StatusNoContent || len(a.body) != 0 {
			t.Errorf("%s: %d %s", body, a.status, a.body)
		}
	}
	got := make(chan answer, 1)
	go func() { got <- s.post("/resources/receive", `{"resource":`+anyPeer+`,"timeout":null}`) }()
	b.put()
	if a := <-got; a.status != http.StatusOK || !strings.Contains(string(a.body), `"sequence":2,`) {
		t.Errorf("%d %s", a.status, a.body)
	}
	if n, acked := b.state(); n != 0 || len(acked) != 3 {
		t.Errorf("%d wait, %v acknowledged", n, acked)
	}
}

// The job's end closes streams cleanly and answers 204 to who waits for one.
func TestR12End(t *testing.T) {
	ending := make(chan struct{})
	begun := make(chan struct{}, 2)
	s := serve(t, Config{Job: &scripted{receive: func(ctx context.Context, r bridge.ReceiveRequest) iter.Seq2[bridge.Received, error] {
		return func(yield func(bridge.Received, error) bool) {
			if r.Ready != nil {
				r.Ready()
			}
			begun <- struct{}{}
			<-ending
			yield(bridge.Received{}, bridge.ErrClosed)
		}
	}}})
	st := s.open("/resources/receive", `{"receive":`+anyPeer+`}`)
	got := make(chan answer, 1)
	go func() { got <- s.post("/resources/receive", `{"receive":`+anyPeer+`,"timeout":null}`) }()
	<-begun
	<-begun
	close(ending)
	if events := st.end(); len(events) != 0 {
		t.Errorf("%+v", events)
	}
	if a := <-got; a.status != http.StatusNoContent {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// What is wrong with a request is told with its status, before any header.
func TestReceiveRefusals(t *testing.T) {
	var fail error
	s := serve(t, Config{KeepAlive: time.Millisecond, Job: &scripted{receive: func(_ context.Context, r bridge.ReceiveRequest) iter.Seq2[bridge.Received, error] {
		return func(yield func(bridge.Received, error) bool) { yield(bridge.Received{}, fail) }
	}}})
	tests := []struct {
		err    error
		status int
		code   string
	}{
		{&bridge.PathError{Path: "../x", Err: errors.New("no")}, 400, "invalid_path"},
		{&connectors.FieldError{Field: "peers[0]", Problem: "is no peer id"}, 400, "invalid_request"},
		{bridge.ErrBusy, 429, "busy"},
		{bridge.ErrOffline, 503, "offline"},
		{errors.New("surprise"), 500, "internal"},
	}
	for _, tt := range tests {
		for _, mode := range []string{`true`, `false`, `true,"progress":true`} {
			fail = tt.err
			a := s.post("/resources/receive", `{"receive":`+anyPeer+`,"stream":`+mode+`}`)
			if a.status != tt.status || a.problem(t).Error != tt.code {
				t.Errorf("%v: %d %s", tt.err, a.status, a.body)
			}
		}
	}
	fail = bridge.ErrBusy
	if a := s.post("/resources/receive", `{"receive":`+anyPeer+`}`); a.header.Get("Retry-After") != "1" {
		t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
	}
}

// A failure in a running stream ends it; only a client that knows events by
// their names is told in an event.
func TestStreamFails(t *testing.T) {
	for _, progress := range []bool{false, true} {
		s := serve(t, Config{Job: &scripted{receive: func(_ context.Context, r bridge.ReceiveRequest) iter.Seq2[bridge.Received, error] {
			return func(yield func(bridge.Received, error) bool) {
				r.Ready()
				if yield(item(0), nil) {
					yield(bridge.Received{}, errors.New("surprise\nevent: x\ndata: {}"))
				}
			}
		}}})
		a := s.post("/resources/receive", fmt.Sprintf(`{"receive":%s,"progress":%v}`, anyPeer, progress))
		events := readEvents(t, bufio.NewReader(strings.NewReader(string(a.body))))
		last := events[len(events)-1]
		if want := map[bool]event{true: {name: "error", data: last.data}, false: {comment: "internal"}}[progress]; len(events) != 2 || last != want {
			t.Errorf("progress %v: %+v", progress, events)
		}
	}
}

func TestR9Replay(t *testing.T) {
	var got *int64
	s := serve(t, Config{Job: &scripted{receive: func(_ context.Context, r bridge.ReceiveRequest) iter.Seq2[bridge.Received, error] {
		got = r.Since
		return func(func(bridge.Received, error) bool) {}
	}}})
	tests := []struct {
		name, since, header string
		want                int64
		status              int
	}{
		{"nothing", "", "", -2, 200},
		{"body", `,"since":7`, "", 7, 200},
		{"all", `,"since":-1`, "", -1, 200},
		{"null", `,"since":null`, "", -2, 200},
		{"header", "", "12", 12, 200},
		{"header first", `,"since":7`, "12", 12, 200},
		{"largest", "", "9223372036854775807", 1<<63 - 1, 200},
		{"overflow", "", "9223372036854775808", -2, 400},
		{"negative", "", "-5", -2, 400},
		{"words", "", "last", -2, 400},
		{"fraction", "", "1.5", -2, 400},
		{"list", "", "1, 2", -2, 400},
		{"body fraction", `,"since":1.5`, "", -2, 422},
		{"body text", `,"since":"7"`, "", -2, 422},
		{"body overflow", `,"since":9223372036854775808`, "", -2, 422},
		{"body negative", `,"since":-2`, "", -2, 422},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got = nil
			a := s.post("/resources/receive", `{"receive":`+anyPeer+tt.since+`}`, func(r *http.Request) {
				if tt.header != "" {
					r.Header.Set("Last-Event-ID", tt.header)
				}
			})
			if a.status != tt.status {
				t.Fatalf("%d %s", a.status, a.body)
			}
			if have := got; (have == nil) != (tt.want == -2) || have != nil && *have != tt.want {
				t.Errorf("since %v, want %d", have, tt.want)
			}
		})
	}
}

// Inbound progress is for those who ask; others get items alone.
func TestReceiveProgress(t *testing.T) {
	moving := bridge.Transfer{ID: "t1", Kind: "receive", State: "running", Name: "w.bin", Done: 5, Total: 10, Started: time.Unix(1, 0).UTC()}
	b, job := queue(0)
	job.transfers = func() []bridge.Transfer {
		return []bridge.Transfer{{ID: "t0", Kind: "send", State: "running", Started: time.Unix(1, 0)}, moving}
	}
	s := serve(t, Config{Job: job})
	quiet := s.open("/resources/receive", `{"receive":`+anyPeer+`}`)
	b.put()
	if e := quiet.next(); e.id != "0" || e.name != "" {
		t.Errorf("%+v", e)
	}
	quiet.close()
	st := s.open("/resources/receive", `{"receive":`+anyPeer+`,"progress":true}`)
	defer st.close()
	if e := st.next(); e.name != "progress" || !strings.Contains(e.data, `"id":"t1"`) {
		t.Errorf("%+v", e)
	} else {
		s.checkEvent("/resources/receive", e)
	}
}
