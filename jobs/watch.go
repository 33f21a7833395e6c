package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
)

// Watch yields a job as it is, and again whenever its state has changed, until
// it has ended. When it is removed the sequence ends with ErrNotFound.
func (s *Supervisor) Watch(ctx context.Context, id string) iter.Seq2[Job, error] {
	return func(yield func(Job, error) bool) {
		for last := State(""); ; {
			changed := s.change()
			job, err := s.Show(ctx, id)
			if err != nil {
				yield(Job{}, err)
				return
			}
			if job.State != last {
				last = job.State
				if !yield(job, nil) || last.Ended() {
					return
				}
			}
			if err := wait(ctx, changed); err != nil {
				yield(Job{}, err)
				return
			}
		}
	}
}

// change returns what is closed when a job changes.
func (s *Supervisor) change() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// ErrStream says that a job's output has no such stream.
var ErrStream = errors.New("no such stream")

// Logs writes to w what is left of an output of a job's command: at least
// Config.LogSize bytes if there were as many. With follow it goes on until the
// job has ended.
func (s *Supervisor) Logs(ctx context.Context, id string, stream Stream, follow bool, w io.Writer) error {
	if stream != Stdout && stream != Stderr {
		return fmt.Errorf("%w: %q", ErrStream, clip(string(stream)))
	}
	rec, err := s.find(ctx, id)
	if err != nil {
		return err
	}
	if rec.Spec.Command == nil {
		return fmt.Errorf("job %s: %w: its command is not the node's", id, ErrState)
	}
	for follow {
		changed := s.change()
		if rec, err = s.find(ctx, id); err != nil {
			return err
		}
		if rec.State.Ended() || s.writing(id) {
			break
		}
		if err := wait(ctx, changed); err != nil {
			return err
		}
	}
	l, err := s.openLog(id, stream)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was written
	}
	if err != nil {
		return err
	}
	return errors.Join(l.copyTo(ctx, w, follow), l.close())
}

// writing tells whether a job's command runs.
func (s *Supervisor) writing(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lives[id]
	return l != nil && l.logs != nil
}

// openLog returns a log that the caller closes: the one that is being written,
// or the files.
func (s *Supervisor) openLog(id string, stream Stream) (*logFile, error) {
	s.mu.Lock()
	if l := s.lives[id]; l != nil && l.logs != nil {
		defer s.mu.Unlock()
		return l.logs[stream].retain(), nil
	}
	s.mu.Unlock()
	return openLog(s.place.jobDir(id), stream, s.conf.LogSize, false, s.log)
}
