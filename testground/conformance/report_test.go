package conformance

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestP02NoController: without a controller an executor is told to go on.
func TestP02NoController(t *testing.T) {
	j := newJob(t, shared.nodes[0])
	for _, body := range []string{
		`"update"`, `"updated"`, `"update-received"`, `{"status":{"batch_size":8}}`, `{"metrics":{"round":3,"metrics":{"loss":1.0}}}`,
	} {
		var got map[string]any
		j.post(t, "/status/send", body).into(t, http.StatusOK, &got)
		if len(got) != 1 || got["type"] != "Ok" {
			t.Errorf("%s: %v", body, got)
		}
	}
	for _, executor := range []string{"train", "aggregate", "rl-train"} {
		var got struct {
			JobID string `json:"job_id"`
			Next  struct {
				Executor string `json:"executor"`
				Action   struct {
					Kind    string `json:"kind"`
					Timeout struct {
						Secs  int64 `json:"secs_since_epoch"`
						Nanos int64 `json:"nanos_since_epoch"`
					} `json:"timeout"`
				} `json:"action"`
			} `json:"next"`
		}
		before := time.Now().Unix()
		j.post(t, "/action/update", map[string]any{
			"job_id": j.ID, "status": map[string]any{"executor": executor, "details": map[string]any{"state": "joined"}},
		}).into(t, http.StatusOK, &got)
		at := got.Next.Action.Timeout
		if got.JobID != j.ID || got.Next.Executor != executor || got.Next.Action.Kind != "idle" || at.Secs < before || at.Nanos < 0 || at.Nanos >= 1e9 {
			t.Errorf("%s: %+v", executor, got)
		}
	}
	var got map[string]any
	j.post(t, "/job/progress", `{"step":1}`).into(t, http.StatusOK, &got)
}

// TestP03AnotherJob: a report of another job is refused.
func TestP03AnotherJob(t *testing.T) {
	j := newJob(t, shared.nodes[0])
	j.post(t, "/action/update", `{"job_id":"another","status":{"executor":"train","details":{"state":"joined"}}}`).refused(t, 400, "invalid_request")
	for _, body := range []string{``, `{`, `nothing`, `{"job_id":`} {
		j.post(t, "/status/send", body).refused(t, 400, "invalid_json")
	}
}

// TestP04Verbatim: what goes through is not decoded: an executor's name comes
// back as it was written, whatever else the body holds.
func TestP04Verbatim(t *testing.T) {
	j := newJob(t, shared.nodes[0])
	for _, executor := range []string{`"tr\u0061in<&>"`, `"é\u2028"`, `{"n":9007199254740993,"x":1e400}`, `18446744073709551616`} {
		var got struct {
			Next struct {
				Executor json.RawMessage `json:"executor"`
			} `json:"next"`
		}
		j.post(t, "/action/update", `{"job_id":"`+j.ID+`","status":{"executor":`+executor+`,"details":{"state":"joined","big":123456789012345678901234567890}}}`).
			into(t, http.StatusOK, &got)
		if string(got.Next.Executor) != executor {
			t.Errorf("executor %s came back as %s", executor, got.Next.Executor)
		}
	}
}

// TestP01Controller: reports go to the job's controller byte for byte, once, with
// the job's id, and its answers come back in the same way.
func TestP01Controller(t *testing.T) {
	type call struct{ route, job, body string }
	calls := make(chan call, 16)
	controller := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		calls <- call{r.URL.Path, r.Header.Get("Hypha-Job-Id"), string(body)}
		if strings.Contains(string(body), "fail") {
			http.Error(w, "no", http.StatusInternalServerError)
			return
		}
		io.WriteString(w, `{"got": `+string(body)+`, "n":9007199254740993}`)
	}))
	defer controller.Close()
	j := newJob(t, shared.nodes[0], "--controller", controller.URL+"/base")
	for route, body := range map[string]string{
		"/status/send":   `{"metrics":{"round":3,"metrics":{"loss":1.0,"big":123456789012345678901234567890,"e":1e400}}}`,
		"/action/update": `{ "job_id":"` + j.ID + `", "status":{"executor":"tr\u0061in<&>"} }`,
		"/job/progress":  `"half"`,
	} {
		a := j.post(t, route, body)
		if want := `{"got": ` + body + `, "n":9007199254740993}`; a.status != http.StatusOK || string(a.body) != want {
			t.Errorf("%s: %d %s, want %s", route, a.status, a.body, want)
		}
		if got := <-calls; got.route != "/base"+route || got.job != j.ID || got.body != body {
			t.Errorf("%s: the controller got %+v", route, got)
		}
	}
	if a := j.post(t, "/status/send", `"fail"`); a.status != http.StatusBadGateway {
		t.Errorf("%d %s", a.status, a.body)
	}
	<-calls
	if len(calls) > 0 {
		t.Errorf("a report was repeated: %+v", <-calls)
	}
	controller.Close()
	if a := j.post(t, "/status/send", `"gone"`); a.status != http.StatusBadGateway {
		t.Errorf("%d %s", a.status, a.body)
	}
}
