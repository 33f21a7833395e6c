package jobs

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge"
)

// Stop ends a job and returns when it has ended: its command gets SIGTERM, and
// SIGKILL after its grace. The job stays listed. One that has ended is left as
// it is.
func (s *Supervisor) Stop(ctx context.Context, id string) (Job, error) {
	rec, err := s.find(ctx, id)
	if err != nil {
		return Job{}, err
	}
	if rec.State.Ended() {
		return s.describe(id, rec), nil
	}
	if err := s.finishLife(ctx, id, errStopped); err != nil {
		return Job{}, err
	}
	if err := s.stopIdle(ctx, id); err != nil {
		return Job{}, err
	}
	return s.Show(ctx, id)
}

// stopIdle ends a job that has no life: the supervisor does not serve, or could
// not serve this one.
func (s *Supervisor) stopIdle(ctx context.Context, id string) error {
	if err := s.claim(id); err != nil {
		return err
	}
	defer s.unclaim(id)
	rec, err := s.read(ctx, id)
	if err != nil || rec.State.Ended() {
		return err
	}
	if rec.Run != nil {
		if err := rec.Run.kill(); err != nil {
			return fmt.Errorf("stop job %s: %w", id, err)
		}
	}
	return s.conclude(context.WithoutCancel(ctx), id, &rec, verdict{StateStopped, ""})
}

// Remove ends a job: what it fetches is cancelled, its command and its bridge
// stop, its directory and socket are removed and its pins dropped, those of its
// outputs too; but not of what it published itself to be kept. A work directory
// that the caller brought stays, without what the node kept in it. ErrNotFound if
// there is no such job; after another error Remove can be asked again.
func (s *Supervisor) Remove(ctx context.Context, id string) error { return s.remove(ctx, id, false) }

// Dismiss is Remove for a job whose outputs stay pinned.
func (s *Supervisor) Dismiss(ctx context.Context, id string) error { return s.remove(ctx, id, true) }

func (s *Supervisor) remove(ctx context.Context, id string, outputs bool) error {
	if _, err := s.find(ctx, id); err != nil {
		return err
	}
	if err := s.claim(id); err != nil {
		return err
	}
	defer s.unclaim(id)
	if err := s.finishLife(ctx, id, errRemoved); err != nil {
		return fmt.Errorf("remove job %s: %w", id, err)
	}
	rec, err := s.read(ctx, id)
	if err != nil {
		return err // its life has removed it
	}
	if err := s.stop(id); err != nil {
		return fmt.Errorf("remove job %s: %w", id, err)
	}
	if rec.WorkDir != "" {
		if err := removePrivate(rec.WorkDir); err != nil {
			return fmt.Errorf("remove job %s: %w", id, err)
		}
	}
	if !outputs {
		for _, announced := range []bool{false, true} {
			if err := s.unpin(ctx, bridge.MatchedPin(id, announced)); err != nil {
				return fmt.Errorf("remove job %s: %w", id, err)
			}
		}
	}
	if err := s.erase(ctx, id); err != nil {
		return fmt.Errorf("remove job %s: %w", id, err)
	}
	return nil
}

// retire takes from a job that ends what it needs no more. It may be repeated.
func (s *Supervisor) retire(ctx context.Context, id string, rec *record) error {
	if err := s.stop(id); err != nil {
		return err
	}
	end := rec.State
	if rec.Next != "" {
		end = rec.Next
	}
	if err := s.forgetInbox(ctx, id); err != nil {
		return err
	}
	if err := s.place.removeSocket(id); err != nil {
		return err
	}
	if rec.WorkDir != "" {
		if err := removePrivate(rec.WorkDir); err != nil {
			return err
		}
	}
	if rec.Spec.Keep.Keeps(end) {
		return nil
	}
	// The directory goes last: while it is there, this is to be done again.
	if err := s.unpin(ctx, bridge.PinName(id)); err != nil {
		return err
	}
	return s.place.removeWork(id)
}

// retireAgain is retire for a job that has ended, should it not have been
// possible then.
func (s *Supervisor) retireAgain(ctx context.Context, id string, rec *record) error {
	if rec.Spec.Keep.Keeps(rec.State) || !s.place.hasWork(id) {
		return nil
	}
	return s.retire(ctx, id, rec)
}

// erase removes what a job that is not served left: files, pins, record.
func (s *Supervisor) erase(ctx context.Context, id string) error {
	if err := s.place.remove(id); err != nil {
		return err
	}
	if err := s.unpin(ctx, bridge.PinName(id)); err != nil {
		return err
	}
	if err := s.forgetInbox(ctx, id); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.broken, id)
	s.mu.Unlock()
	if err := s.conf.Records.Delete(ctx, id); err != nil {
		return err
	}
	s.tell(id, StateStopped) // those who wait for it wait in vain
	return nil
}

// forgetInbox drops what a job received and did not take, and what it sent and
// could not deliver.
func (s *Supervisor) forgetInbox(ctx context.Context, id string) error {
	if s.conf.Inbox == nil {
		return nil
	}
	// The pins first: while there are records, this can be done again.
	for _, name := range []string{bridge.InboxPinName(id), bridge.OutboxPinName(id)} {
		if err := s.unpin(ctx, name); err != nil {
			return err
		}
	}
	return bridge.Forget(ctx, s.conf.Inbox, id)
}

// unpin drops all pins of a name, and those below it. They are collected first: an enumeration need
// not bear changes.
func (s *Supervisor) unpin(ctx context.Context, name string) error {
	var mine []blockstore.Pin
	for p, err := range s.conf.Store.Pins(ctx) {
		if err != nil {
			return err
		}
		if p.Name == name || strings.HasPrefix(p.Name, name+"/") {
			mine = append(mine, p)
		}
	}
	for _, p := range mine {
		if err := s.conf.Store.Unpin(ctx, p.Root, p.Name); err != nil && !ipld.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// Close ends all commands, stops all bridges, removes their sockets and waits
// for what they do. Jobs and their directories stay: one whose command ran has
// failed, the others go on at the next start. It may be called more than once.
func (s *Supervisor) Close() error {
	s.mu.Lock()
	s.closed = true
	for _, l := range s.lives {
		l.end(ErrClosed)
	}
	s.mu.Unlock()
	s.busy.Wait()
	s.mu.Lock()
	ids := make([]string, 0, len(s.serving))
	for id := range s.serving {
		ids = append(ids, id)
	}
	s.mu.Unlock()
	var errs []error
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, id := range ids {
		wg.Go(func() {
			err := s.stop(id)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
