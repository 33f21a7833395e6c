package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	ipld "github.com/ipfs/go-ipld-format"
)

// State says what a job is doing.
type State string

// States of a job, in the order in which it goes through them. One without a
// command goes from created to an end, by way of waiting, staging and running
// if its owner asks for that.
const (
	StateCreated  State = "created"  // recorded; its bridge answers
	StateWaiting  State = "waiting"  // for other jobs to finish
	StateQueued   State = "queued"   // for one of the places for running jobs
	StateStaging  State = "staging"  // its inputs are fetched
	StateRunning  State = "running"  // its command runs
	StateFinished State = "finished" // its command ended with exit code 0, its outputs are stored
	StateFailed   State = "failed"   // anything else, which Job.Error tells
	StateStopped  State = "stopped"  // somebody asked for it
)

// Ended tells whether a job in this state does nothing any more.
func (s State) Ended() bool { return s == StateFinished || s == StateFailed || s == StateStopped }

// Output is what one of a job's patterns matched, as it is stored.
type Output struct {
	Path     string `json:"path"` // relative to the work directory
	CID      string `json:"cid"`
	Size     int64  `json:"size"`               // bytes of content
	Checksum string `json:"checksum,omitempty"` // "sha256:" and 64 hex digits; absent for a directory
}

// Job describes one job. No secret is in it.
type Job struct {
	ID      string    `json:"id"`
	Socket  string    `json:"socket"`   // absolute path
	WorkDir string    `json:"work_dir"` // absolute path
	Created time.Time `json:"created"`  // UTC
	State   State     `json:"state"`

	Scope      string              `json:"scope,omitempty"` // where it is not the id
	Channel    string              `json:"channel,omitempty"`
	Peers      []string            `json:"peers,omitempty"`
	HasSecret  bool                `json:"has_secret,omitempty"`
	Controller string              `json:"controller,omitempty"` // without user and password
	Executor   string              `json:"executor,omitempty"`
	Args       []string            `json:"args,omitempty"`
	Inputs     map[string][]string `json:"inputs,omitempty"` // references as people read them, by directory
	After      []string            `json:"after,omitempty"`
	Keep       Keep                `json:"keep,omitempty"`

	Started  time.Time `json:"started,omitzero"`    // when the command was started, UTC
	Ended    time.Time `json:"ended,omitzero"`      // UTC
	PID      int       `json:"pid,omitempty"`       // of the running command
	ExitCode *int      `json:"exit_code,omitempty"` // absent if it did not run to an end
	Signal   string    `json:"signal,omitempty"`    // that ended it: "SIGTERM"
	Error    string    `json:"error,omitempty"`     // why it failed
	Outputs  []Output  `json:"outputs,omitempty"`

	Isolation string `json:"isolation,omitempty"` // the walls around its command, as isolate.Plan names them
}

// record is what is kept of a job. Fields are added, never renamed.
type record struct {
	Created time.Time `json:"created"`
	WorkDir string    `json:"work_dir,omitempty"` // only one that the caller brought
	Spec    Spec      `json:"spec,omitzero"`
	State   State     `json:"state,omitempty"` // "": created, of a version that knew no other

	Started  time.Time `json:"started,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
	Run      *running  `json:"run,omitempty"` // while the command runs, as far as is known
	ExitCode *int      `json:"exit_code,omitempty"`
	Signal   string    `json:"signal,omitempty"`
	Error    string    `json:"error,omitempty"`
	Outputs  []Output  `json:"outputs,omitempty"`
	// Isolation is what the command got.
	Isolation string `json:"isolation,omitempty"`
	// Next is the state that the job gets as soon as its socket and directory
	// are gone. It is set when there is no way back.
	Next State `json:"next,omitempty"`
}

// running is what the processes of a run are found by after a crash.
type running struct {
	Cookie string `json:"cookie"`          // in their environment
	PID    int    `json:"pid,omitempty"`   // of the first; 0: not started yet
	Start  string `json:"start,omitempty"` // when the system started it, in its own terms; "": not known
}

// read returns the record of a job, or ErrNotFound.
func (s *Supervisor) read(ctx context.Context, id string) (record, error) {
	value, err := s.conf.Records.Get(ctx, id)
	if ipld.IsNotFound(err) {
		return record{}, fmt.Errorf("job %s: %w", id, ErrNotFound)
	}
	if err != nil {
		return record{}, fmt.Errorf("read job %s: %w", id, err)
	}
	rec, err := parseRecord(id, value)
	if err != nil {
		return record{}, fmt.Errorf("read job %s: %w", id, err)
	}
	return rec, nil
}

// parseRecord reads the value of a record.
func parseRecord(id string, value []byte) (record, error) {
	var rec record
	if err := json.Unmarshal(value, &rec); err != nil {
		return record{}, err
	}
	if rec.State == "" {
		rec.State = StateCreated
	}
	rec.Spec.ID, rec.Spec.WorkDir = id, rec.WorkDir
	return rec, nil
}

// put records a job and then tells those who watch. Only the owner of the job
// at that moment, its life or a claim, calls it.
func (s *Supervisor) put(ctx context.Context, id string, rec record) error {
	value, err := encode(rec)
	if err == nil {
		err = s.conf.Records.Put(ctx, id, value)
	}
	if err != nil {
		return fmt.Errorf("record job %s: %w", id, err)
	}
	s.tell(id, rec.State)
	return nil
}

// describe returns what is known of a job.
func (s *Supervisor) describe(id string, rec record) Job {
	spec := rec.Spec
	job := Job{
		ID: id, Created: rec.Created.UTC(), State: rec.State, WorkDir: s.place.workDir(id, rec), Socket: s.place.socket(id),
		Scope: spec.Scope, Channel: spec.Channel, Peers: spec.Peers, HasSecret: spec.Secret != "", After: spec.After, Keep: spec.Keep,
		Started: rec.Started, Ended: rec.Ended, ExitCode: rec.ExitCode, Signal: rec.Signal, Error: rec.Error, Outputs: rec.Outputs, Isolation: rec.Isolation,
	}
	if spec.Controller != "" {
		job.Controller = redactEndpoint(spec.Controller)
	}
	if c := spec.Command; c != nil {
		job.Executor, job.Args = c.Executor, c.Args
	}
	if rec.Run != nil {
		job.PID = rec.Run.PID
	}
	if inputs, err := spec.inputs(); err == nil && len(inputs) > 0 {
		job.Inputs = map[string][]string{}
		for _, in := range inputs {
			job.Inputs[in.dir] = append(job.Inputs[in.dir], in.ref.String())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.broken[id]; err != nil && !job.State.Ended() {
		job.State, job.Error = StateFailed, err.Error()
	}
	return job
}
