package control

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/hypha-node/hypha-node/jobs"
)

// jobCreate makes a job and serves its bridge; one with a command goes its way.
func (s *Server) jobCreate(ctx context.Context, r JobRequest) (jobs.Job, error) {
	return s.Jobs.Create(ctx, r)
}

// jobList streams all jobs in the order of their ids.
func (s *Server) jobList(ctx context.Context, _ none, out *stream[jobs.Job]) error {
	list, err := s.Jobs.List(ctx)
	if err != nil {
		return err
	}
	for _, j := range list {
		if err := out.item(j); err != nil {
			return err
		}
	}
	return nil
}

// jobShow describes a job.
func (s *Server) jobShow(ctx context.Context, k key) (jobs.Job, error) {
	return s.Jobs.Show(ctx, k.Value)
}

// removal names a job to remove; its outputs stay pinned with outputs=keep.
type removal struct{ id, outputs string }

// fill takes the values from the path and the query.
func (r *removal) fill(req *http.Request) {
	r.id, r.outputs = req.PathValue("id"), req.URL.Query().Get("outputs")
}

// jobRemove ends a job and removes what it has on disk.
func (s *Server) jobRemove(ctx context.Context, r removal) (none, error) {
	switch r.outputs {
	case "", "drop":
		return none{}, s.Jobs.Remove(ctx, r.id)
	case "keep":
		return none{}, s.Jobs.Dismiss(ctx, r.id)
	}
	return none{}, invalid("outputs=%q: not keep or drop", r.outputs)
}

// jobStop ends a job, which stays listed, and returns when it has ended.
func (s *Server) jobStop(ctx context.Context, k key) (jobs.Job, error) {
	return s.Jobs.Stop(ctx, k.Value)
}

// jobWatch streams a job at each change of its state until it has ended.
func (s *Server) jobWatch(ctx context.Context, k key, out *stream[jobs.Job]) error {
	for j, err := range s.Jobs.Watch(ctx, k.Value) {
		if err != nil {
			return err
		}
		if err := out.item(j); err != nil {
			return err
		}
	}
	return nil
}

// jobHold keeps a held job for as long as the client listens.
func (s *Server) jobHold(ctx context.Context, k key, out *stream[jobs.Job]) error {
	return s.Jobs.Hold(ctx, k.Value, out.item)
}

// jobStage fetches the inputs of a job whose command is the client's.
func (s *Server) jobStage(ctx context.Context, k key, out *stream[jobs.Job]) error {
	err := s.Jobs.Stage(ctx, k.Value, func(p jobs.Progress) {
		out.progress(Progress{Path: p.Path, Done: p.Done, Total: p.Total})
	})
	if err != nil {
		return err
	}
	j, err := s.Jobs.Show(ctx, k.Value)
	if err != nil {
		return err
	}
	return out.item(j)
}

// jobFinish ends a job whose command was the client's.
func (s *Server) jobFinish(ctx context.Context, r JobEnd) (jobs.Job, error) {
	return s.Jobs.Finish(ctx, r.ID, jobs.Exit{Code: r.ExitCode, Signal: r.Signal}, r.Failure)
}

// jobLogs answers with an output of a job's command. Why it ended early is in a
// trailer, as with cat.
func (s *Server) jobLogs(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	req := LogsRequest{ID: r.PathValue("id"), Stream: jobs.Stdout, Follow: q.Get("follow") == "true"}
	if name := q.Get("stream"); name != "" {
		req.Stream = jobs.Stream(name)
	}
	out := &logWriter{w: w, ctl: http.NewResponseController(w)}
	err := s.Jobs.Logs(r.Context(), req.ID, req.Stream, req.Follow, out)
	if err != nil && !out.begun {
		writeError(w, err)
		return
	}
	out.begin()
	if err != nil && r.Context().Err() == nil {
		if text, jerr := json.Marshal(describe(err)); jerr == nil {
			w.Header().Set(trailerError, string(text))
		}
	}
}

// logWriter answers with bytes. Nothing is sent before the first.
type logWriter struct {
	w     http.ResponseWriter
	ctl   *http.ResponseController
	begun bool
}

func (l *logWriter) begin() {
	if l.begun {
		return
	}
	l.begun = true
	l.w.Header().Set("Content-Type", "application/octet-stream")
	l.w.Header().Set("Trailer", trailerError)
	l.w.WriteHeader(http.StatusOK)
}

// Write sends bytes.
func (l *logWriter) Write(b []byte) (int, error) {
	l.begin()
	return l.w.Write(b)
}

// FlushError sends what is held back, the header too.
func (l *logWriter) FlushError() error {
	l.begin()
	return l.ctl.Flush()
}
