package bridge

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
)

// Routes of reports.
const (
	RouteStatus   = "/status/send"
	RouteAction   = "/action/update"
	RouteProgress = "/job/progress"
)

// idleFor is what an executor is told to wait when nobody controls its job.
const idleFor = time.Second

// Report passes what an executor reports to the job's controller, byte for byte
// and once, and returns its answer in the same way. Without a controller the
// answer is {"type":"Ok"}, or, to an action, to be idle for a second.
//
// Errors: connectors.ErrInvalid for what is no JSON and for a body that names
// another job, and connectors.ErrUpstream when the controller failed.
func (j *Job) Report(ctx context.Context, route string, body json.RawMessage) (json.RawMessage, error) {
	ctx, end, err := j.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	if !json.Valid(body) {
		return nil, &connectors.FieldError{Problem: "the body is no JSON"}
	}
	// Only what an object says of itself is looked at: the rest is the
	// controller's, and changes with it.
	var named struct {
		JobID  json.RawMessage `json:"job_id"`
		Status struct {
			Executor json.RawMessage `json:"executor"`
		} `json:"status"`
	}
	// A body of another shape names no job.
	_ = json.Unmarshal(body, &named) //nolint:errcheck // see above
	var id string
	if len(named.JobID) > 0 && json.Unmarshal(named.JobID, &id) == nil && id != "" && id != j.info.ID && id != j.scope.Job {
		return nil, &connectors.FieldError{Field: "job_id", Problem: fmt.Sprintf("names another job: %q", clip(id))}
	}
	if j.controller == nil {
		return j.unattended(route, named.JobID, named.Status.Executor)
	}
	answer, err := j.controller.Call(ctx, j.info.ID, route, bytes.Clone(body))
	if err != nil {
		return nil, fmt.Errorf("%w: controller: %w", connectors.ErrUpstream, cause(ctx, err))
	}
	return answer, nil
}

// unattended answers where there is no controller.
func (j *Job) unattended(route string, job, executor json.RawMessage) (json.RawMessage, error) {
	if route != RouteAction {
		return json.RawMessage(`{"type":"Ok"}`), nil
	}
	if len(job) == 0 {
		job = quoted(j.scope.Job)
	}
	if len(executor) == 0 {
		executor = json.RawMessage("null")
	}
	until := j.now().Add(idleFor)
	type systemTime struct {
		Secs  int64 `json:"secs_since_epoch"`
		Nanos int   `json:"nanos_since_epoch"`
	}
	type action struct {
		Kind    string     `json:"kind"`
		Timeout systemTime `json:"timeout"`
	}
	type next struct {
		Executor json.RawMessage `json:"executor"`
		Action   action          `json:"action"`
	}
	var answer bytes.Buffer
	enc := json.NewEncoder(&answer)
	enc.SetEscapeHTML(false) // what the executor said of itself comes back as it was
	err := enc.Encode(struct {
		JobID json.RawMessage `json:"job_id"`
		Next  next            `json:"next"`
	}{job, next{executor, action{"idle", systemTime{until.Unix(), until.Nanosecond()}}}})
	return bytes.TrimSpace(answer.Bytes()), err
}

// quoted returns a job's id as JSON: ids hold nothing that needs escaping.
func quoted(id string) json.RawMessage { return json.RawMessage(`"` + id + `"`) }
