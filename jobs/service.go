package jobs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/rest"
)

// service is the bridge of one job, served.
type service struct {
	job   *bridge.Job
	scope string // job id that offers name
	stop  context.CancelFunc
	done  chan error // gets what Serve returned, once

	callers callers
}

// start makes the directories of a job and serves its socket.
func (s *Supervisor) start(ctx context.Context, id string, rec record) error {
	if err := s.place.make(id); err != nil {
		return err
	}
	socket := s.place.socket(id)
	conf, err := s.bridgeConfig(id, rec)
	if err != nil {
		return err
	}
	job, err := bridge.Open(conf)
	if err != nil {
		return err
	}
	l, err := rest.Listen(ctx, socket)
	if err != nil {
		return errors.Join(err, job.Close())
	}
	serveCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	sv := &service{job: job, scope: rec.Spec.scope(), stop: stop, done: make(chan error, 1)}
	sv.callers.mark, sv.callers.supervised = rec.Spec.Mark, rec.Spec.Command != nil
	h := rest.New(rest.Config{Job: job, Logger: s.log, Caller: sv.callers.admit})
	go func() { sv.done <- h.Serve(serveCtx, l) }()
	s.mu.Lock()
	closed := s.closed
	if !closed {
		s.serving[id] = sv
	}
	s.mu.Unlock()
	if closed { // Close did not see this one
		return errors.Join(ErrClosed, sv.end())
	}
	return nil
}

// bridgeConfig returns what the bridge of a job needs.
func (s *Supervisor) bridgeConfig(id string, rec record) (bridge.Config, error) {
	spec := rec.Spec
	c := bridge.Config{
		ID: id, WorkDir: s.place.workDir(id, rec), Socket: s.place.socket(id), Created: rec.Created,
		Engine: s.conf.Engine, Store: s.conf.Store, StoreDir: s.conf.Dir, Logger: s.log, Now: s.now,
		Peers: s.conf.Peers, Inbox: s.conf.Inbox, Limits: spec.Limits, Announce: s.conf.Announce,
		Scope: bridge.Scope{Job: spec.scope(), Channel: spec.Channel, Peers: spec.Peers, Secret: spec.Secret},
	}
	if spec.Controller == "" {
		return c, nil
	}
	remote, err := newController(spec.Controller)
	c.Controller = remote
	return c, err
}

// end stops a bridge and waits for what it does.
func (sv *service) end() error {
	// First the socket: it ends what a client does not read, and Stop waits for that.
	sv.stop()
	sv.job.Stop() // what it fetches is cancelled and answered
	return errors.Join(<-sv.done, sv.job.Close())
}

// stop ends the bridge of a job, if it is served, and waits for it.
func (s *Supervisor) stop(id string) error {
	s.mu.Lock()
	sv := s.serving[id]
	delete(s.serving, id)
	s.mu.Unlock()
	if sv == nil {
		return nil
	}
	return sv.end()
}

// removePrivate removes what the node kept in a directory that is not its own.
func removePrivate(dir string) error {
	root, err := os.OpenRoot(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(root.RemoveAll(bridge.Private), root.Close())
}

// reportOrphans names directories that no record knows: of jobs that only a lost
// index knew. They may hold results, therefore they stay.
func (s *Supervisor) reportOrphans(records []Job) {
	entries, err := os.ReadDir(s.conf.Dir)
	if err != nil {
		s.log.Error("jobs directory not read", slog.Any("err", err))
		return
	}
	for _, e := range entries {
		known := func(j Job) bool { return j.ID == e.Name() }
		if e.IsDir() && !slices.ContainsFunc(records, known) && !s.served(e.Name()) {
			s.log.Warn("directory of an unknown job", slog.String("path", filepath.Join(s.conf.Dir, e.Name())))
		}
	}
}

// served tells whether a job is served or about to be.
func (s *Supervisor) served(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.serving[id] != nil || s.pending[id]
}

// checkWorkDir refuses a directory that can't be a job's. One below the jobs
// directory would be removed with another job; one that two jobs have would be
// swept by one while the other writes to it.
func (s *Supervisor) checkWorkDir(ctx context.Context, dir string) error {
	if dir == "" {
		return nil
	}
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("%w: %q is not absolute", ErrWorkDir, dir)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrWorkDir, err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%w: %s is no directory", ErrWorkDir, dir)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrWorkDir, err)
	}
	if rel, err := filepath.Rel(s.place.real, real); err == nil && filepath.IsLocal(rel) {
		return fmt.Errorf("%w: %s lies in the jobs directory", ErrWorkDir, dir)
	}
	jobs, err := s.records(ctx)
	if err != nil {
		return err
	}
	for _, j := range jobs {
		if other, err := os.Stat(j.WorkDir); err == nil && os.SameFile(info, other) {
			return fmt.Errorf("%w: %s belongs to job %s", ErrWorkDir, dir, j.ID)
		}
	}
	return nil
}
