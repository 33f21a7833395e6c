package control

import (
	"context"

	"github.com/hypha-node/hypha-node/jobs"
)

// jobCreate makes a job and serves its bridge.
func (s *Server) jobCreate(ctx context.Context, r JobRequest) (jobs.Job, error) {
	return s.Jobs.Create(ctx, jobs.Spec{ID: r.ID, WorkDir: r.WorkDir})
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

// jobRemove ends a job and removes what it has on disk.
func (s *Server) jobRemove(ctx context.Context, k key) (none, error) {
	return none{}, s.Jobs.Remove(ctx, k.Value)
}
