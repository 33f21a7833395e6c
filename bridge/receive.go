package bridge

import (
	"cmp"
	"context"
	"iter"

	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/peers"
)

// DefaultInbox is where received files go when a request names no directory.
const DefaultInbox = "incoming"

// Receive yields the files that peers sent to the job, the oldest first, and
// waits for more until ctx ends, the request's Until passes, or, with One, a
// file was taken; then the sequence ends without an error. When the job ends, it
// ends with ErrClosed.
//
// Each file is given to one Receive only: the first, in the order of the calls,
// that waits for one like it. A file that is waiting in nobody's hands stays in
// the inbox. Each is put into the work directory, complete and 0600, under a
// name that was not there before, which begins with its sequence.
//
// Other errors end the sequence and give the file back to the inbox: a
// *PathError for the directory, connectors.ErrInvalid, ErrOffline, ErrQuota, and
// those of the store. A file whose content the store lost is an error once and
// left out then, until the job is opened again.
//
// An item is given at least once: after a crash it may come again, with the same
// sequence, although it was acknowledged in the last moment.
func (j *Job) Receive(ctx context.Context, r ReceiveRequest) iter.Seq2[Received, error] {
	return func(yield func(Received, error) bool) {
		if err := j.receive(ctx, r, yield); err != nil {
			yield(Received{}, err)
		}
	}
}

func (j *Job) receive(ctx context.Context, r ReceiveRequest, yield func(Received, error) bool) error {
	s, err := j.checkReceive(r)
	if err != nil {
		return err
	}
	opCtx, end, err := j.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	if r.Channel != j.scope.Channel {
		if err := j.inbox.listen(opCtx, r.Channel); err != nil {
			return err
		}
	}
	j.inbox.subscribe(s, r.Since)
	if r.Ready != nil {
		r.Ready()
	}
	for {
		it, replay, err := j.inbox.wait(opCtx, s, r.Until)
		switch {
		case err != nil && ctx.Err() != nil:
			return nil // as asked
		case err != nil:
			return err
		case it == nil:
			return nil
		}
		more, err := j.give(ctx, opCtx, it, s, replay, yield)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil || !more || r.Strategy == One {
			return err
		}
	}
}

// give puts an item into the work directory and into the caller's hands. more
// tells whether the caller wants another one.
func (j *Job) give(ctx, opCtx context.Context, it *item, s *subscription, replay bool, yield func(Received, error) bool) (more bool, err error) {
	got, err := j.unpack(opCtx, it, s.dir, replay)
	switch {
	case err == nil:
	case replay && ipld.IsNotFound(err):
		j.log.Info("received file can't be replayed: its content is gone", logJob(j), logError(err))
		return true, nil
	case replay:
		return false, cause(opCtx, err)
	case ipld.IsNotFound(err) && opCtx.Err() == nil:
		j.inbox.setAside(it)
		return false, err
	default:
		j.inbox.giveBack(it)
		return false, cause(opCtx, err)
	}
	if ctx.Err() != nil { // nobody is there any more
		if !replay {
			j.inbox.giveBack(it)
		}
		return false, nil
	}
	more = yield(got, nil)
	switch {
	case replay:
	case !s.taken(ctx):
		j.inbox.giveBack(it)
	default:
		j.inbox.received(it, j.background)
		j.ledger.received()
	}
	return more, nil
}

// background runs something that Stop waits for. The caller is inside an
// operation.
func (j *Job) background(f func()) { j.busy.Go(f) }

// checkReceive makes a subscription of a request.
func (j *Job) checkReceive(r ReceiveRequest) (*subscription, error) {
	if j.peers == nil || j.inbox == nil {
		return nil, ErrOffline
	}
	switch r.Strategy {
	case "", All, One:
	default:
		return nil, &connectors.FieldError{Field: "strategy", Problem: "must be all or one"}
	}
	if err := checkChannel(r.Channel); err != nil {
		return nil, err
	}
	dir, err := outDir(cmp.Or(r.OutDir, DefaultInbox))
	if err != nil {
		return nil, err
	}
	ids, err := j.parsePeers(r.Peers)
	if err != nil {
		return nil, err
	}
	return &subscription{peers: ids, channel: r.Channel, dir: dir, got: make(chan *item, 1), passed: r.Taken}, nil
}

// sentByItself tells whether an offer comes from the very job that it names.
func (j *Job) sentByItself(from string, o peers.Offer) bool {
	return o.Task == j.info.ID && j.peers != nil && from == j.peers.Self()
}
