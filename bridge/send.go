package bridge

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/peers"
	"github.com/hypha-node/hypha-node/dag"
	"github.com/hypha-node/hypha-node/internal/safename"
)

const (
	delivered = "delivered"
	failed    = "failed"

	maxPeers   = 1024 // of one send
	maxChannel = 128  // bytes
)

// Send snapshots a file of the work directory into the store and delivers it to
// peers, all at the same time or the first that takes it. It returns when each
// has the verified bytes in its inbox: one Delivered a peer in the order of the
// request, or exactly one.
//
// Errors: connectors.ErrInvalid for a request that can't be, a *PathError for a
// path that is no regular file, ErrNotFound, ErrConflict for a file that was
// written to meanwhile, ErrOffline, ErrBusy; after that a *SendError. When Send
// fails nothing is removed.
//
// A peer keeps the files of one job in the order of its send calls. A delivery
// whose connection is lost is tried again under the same transfer id, so that
// it is kept once.
func (j *Job) Send(ctx context.Context, r SendRequest) ([]Delivered, error) {
	s, ctx, err := j.newSending(ctx, r, false)
	if before, ok := errors.AsType[*repeated](err); ok {
		return before.is.Delivers, nil
	}
	if err != nil {
		return nil, err
	}
	return s.run(ctx)
}

// sending is one send call.
type sending struct {
	job      *Job
	req      SendRequest
	peers    []string  // canonical, each once, in the order of the request, or in that of the draw
	tickets  []*ticket // one a peer for All, else of the first one
	seq      int64
	transfer *transfer
	offer    peers.Offer // without its Transfer
	read     stamp       // of the file that was read
	later    *lasting    // nil: the caller waits
	base     string      // of transfer ids; "": the transfer's own
	key      string      // of repeat
	repeat   *repeat     // nil: another call has the key

	cancel context.CancelFunc // of its timeout
	finish func(error)        // ends the operation
}

// newSending checks a request and takes its place behind others of its key, then
// in the order. The context is that of the operation. *repeated says that there is
// nothing to do.
func (j *Job) newSending(ctx context.Context, r SendRequest, later bool) (s *sending, opCtx context.Context, err error) {
	ids, err := j.checkSend(&r)
	if err != nil {
		return nil, nil, err
	}
	r.Peers = slices.Clone(ids)
	if r.Key == "" {
		return j.openSending(ctx, r, ids)
	}
	mine, err := j.repeats.enter(ctx, r.Key, r, later)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			j.repeats.leave(r.Key, mine)
		}
	}()
	before, known := j.ledger.sentBefore(r.Key)
	named := known && before.ID == r.Key
	if named && before.State == stateDone {
		return nil, nil, &repeated{before}
	}
	if s, opCtx, err = j.openSending(ctx, r, ids); err != nil {
		if known && before.State == stateDone && errors.Is(err, ErrNotFound) { // it was to be removed
			err = &repeated{before}
		}
		return nil, nil, err
	}
	s.repeat = mine
	if named {
		s.base, s.req.Key = r.Key, ""
	}
	return s, opCtx, nil
}

// openSending takes the place in the order of a call that may begin.
func (j *Job) openSending(ctx context.Context, r SendRequest, ids []string) (*sending, context.Context, error) {
	info, err := j.root.Lstat(r.Path)
	if err != nil {
		return nil, nil, missing(r.Path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, &PathError{Path: r.Path, Err: fmt.Errorf("is a %s", kindOf(info.Mode()))}
	}
	s := &sending{job: j, req: r, peers: ids}
	if r.Strategy == Random {
		shuffle(s.peers)
	}
	// The place in the order comes after the one among the transfers: else those
	// behind could hold all of these, and wait for this one.
	opCtx, t, finish, err := j.start(ctx, kindSend, r.Path, r.Progress)
	if err != nil {
		return nil, nil, err
	}
	if s.key = r.Key; s.key == "" {
		s.key = t.id()
		s.repeat, _ = j.repeats.take(s.key, r)
	}
	t.update(func(*Transfer) { t.key = r.Key })
	first := s.peers
	if r.Strategy != All {
		first = s.peers[:1]
	}
	j.sendMu.Lock()
	s.seq, err = j.number(opCtx)
	for _, p := range first {
		s.tickets = append(s.tickets, j.lanes.take(p))
	}
	j.sendMu.Unlock()
	s.transfer, s.finish, s.cancel = t, s.finishing(finish), func() {}
	if err != nil {
		s.abort(err)
		return nil, nil, err
	}
	if r.Timeout > 0 {
		opCtx, s.cancel = context.WithTimeout(opCtx, r.Timeout)
	}
	return s, opCtx, nil
}

// finishing returns what ends the operation and lets the next call of the key go on.
func (s *sending) finishing(finish func(error)) func(error) {
	return func(err error) {
		finish(err)
		if s.repeat != nil {
			s.job.repeats.leave(s.key, s.repeat)
		}
	}
}

// checkSend fills in the defaults of a request and returns its peers.
func (j *Job) checkSend(r *SendRequest) ([]string, error) {
	if j.peers == nil {
		return nil, ErrOffline
	}
	if err := checkPath(r.Path); err != nil {
		return nil, &PathError{Path: r.Path, Err: err}
	}
	switch r.Strategy {
	case "":
		r.Strategy = All
	case All, One, Random:
	default:
		return nil, &connectors.FieldError{Field: "strategy", Problem: "must be all, one or random"}
	}
	if r.Name == "" {
		r.Name = path.Base(r.Path)
	}
	if err := safename.Segment(r.Name); err != nil {
		return nil, &PathError{Path: r.Name, Err: err}
	}
	if err := checkChannel(r.Channel); err != nil {
		return nil, err
	}
	if len(r.Key) > 255 {
		return nil, &connectors.FieldError{Field: "idempotency key", Problem: "is longer than 255 bytes"}
	}
	if len(r.Peers) == 0 {
		return nil, &connectors.FieldError{Field: "peers", Problem: "is empty"}
	}
	return j.parsePeers(r.Peers)
}

// parsePeers returns the canonical ids, each once, in their order.
func (j *Job) parsePeers(list []string) ([]string, error) {
	if len(list) > maxPeers {
		return nil, &connectors.FieldError{Field: "peers", Problem: fmt.Sprintf("has more than %d entries", maxPeers)}
	}
	ids := make([]string, 0, len(list))
	seen := make(map[string]bool, len(list))
	for i, p := range list {
		id, err := j.peers.Parse(p)
		if err != nil {
			return nil, &connectors.FieldError{Field: fmt.Sprintf("peers[%d]", i), Problem: fmt.Sprintf("is no peer id: %q", clip(p))}
		}
		if !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// checkChannel refuses what no channel is called.
func checkChannel(name string) error {
	if len(name) > maxChannel {
		return &connectors.FieldError{Field: "channel", Problem: fmt.Sprintf("is longer than %d bytes", maxChannel)}
	}
	if strings.ToValidUTF8(name, "") != name || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return &connectors.FieldError{Field: "channel", Problem: "holds control characters or is not UTF-8"}
	}
	return nil
}

// release gives back the places in the order.
func (s *sending) release() {
	for _, t := range s.tickets {
		t.release(false)
	}
}

// abort ends a call that has sent nothing.
func (s *sending) abort(err error) {
	s.release()
	s.finish(err)
	s.cancel()
}

// run sends the file and ends the transfer.
func (s *sending) run(ctx context.Context) (results []Delivered, err error) {
	defer s.cancel()
	defer func() { s.finish(err) }()
	defer s.release()
	defer s.job.hold()() // until all have it: nothing pins it
	if err := s.snapshot(ctx); err != nil {
		return nil, err
	}
	if s.req.Strategy == All {
		results, err = s.all(ctx, s.deliver)
	} else {
		results, err = s.first(ctx, s.prefer)
	}
	return s.conclude(results, err)
}

// snapshot takes the file into the store and makes the offer.
func (s *sending) snapshot(ctx context.Context) error {
	file, info, err := s.job.snapshot(ctx, s.req.Path, false)
	if err != nil {
		return cause(ctx, err)
	}
	s.read = stamp{size: info.Size(), time: info.ModTime(), info: info}
	s.prepare(file)
	return nil
}

// conclude tells what the deliveries came to, and removes a file that is not
// wanted any more.
func (s *sending) conclude(results []Delivered, err error) ([]Delivered, error) {
	s.transfer.update(func(t *Transfer) { t.Delivers, t.Waiting = results, nil })
	s.job.ledger.sent(results, s.offer.File.Size)
	if err != nil {
		return results, &SendError{Results: results, Err: err}
	}
	if s.req.RemoveFile {
		s.job.removeSent(s.req.Path, s.read)
	}
	return results, nil
}

// prepare makes the offer.
func (s *sending) prepare(file dag.File) {
	j := s.job
	s.offer = peers.Offer{
		Job: j.scope.Job, Channel: s.req.Channel, Task: j.info.ID, Name: s.req.Name,
		Seq: s.seq, File: file, Secret: j.scope.Secret,
	}
	targets := int64(1)
	if s.req.Strategy == All {
		targets = int64(len(s.peers))
		s.offer.Others = slices.Sorted(slices.Values(s.peers))
	}
	s.transfer.expect(targets * file.Size)
}

// transferID names the delivery to one peer. With a key it is the same whenever
// the same job sends the same file with that key to that peer.
func (s *sending) transferID(n int, peer string) string {
	if s.req.Key == "" {
		return cmp.Or(s.base, s.transfer.id()) + "." + strconv.Itoa(n)
	}
	h := sha256.New()
	for _, part := range []string{s.job.info.ID, s.req.Key, s.offer.Channel, s.offer.File.Root.String(), peer} {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return "k-" + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(h.Sum(nil)))
}

// outcome returns what a peer's delivery came to.
func (s *sending) outcome(n int, peer string, err error) Delivered {
	d := Delivered{
		PeerID: peer, SentBytes: s.offer.File.Size, Status: delivered,
		CID: s.offer.File.Root.String(), Checksum: checksum(s.offer.File.SHA256), TransferID: s.transferID(n, peer),
	}
	if err != nil {
		d.Status, d.SentBytes = failed, 0
		d.Error, d.Detail = failure(err)
	}
	return d
}

// failure returns the stable code of why a delivery failed, and the words.
func failure(err error) (code, detail string) {
	detail = clip(err.Error())
	if refusal, ok := errors.AsType[*peers.Refusal](err); ok {
		return refusal.Code, clip(refusal.Detail)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout", detail
	case errors.Is(err, ErrCancelled), errors.Is(err, context.Canceled), errors.Is(err, ErrClosed):
		return "cancelled", detail
	case errors.Is(err, errUnreachable):
		return "unreachable", detail
	}
	return "delivery_failed", detail
}

// stamp tells one version of a file from others.
type stamp struct {
	size int64
	time time.Time
	info fs.FileInfo // nil: an earlier process read it
}

// of tells whether a file is that version.
func (s stamp) of(now fs.FileInfo) bool {
	same := now.Mode().IsRegular() && now.Size() == s.size && now.ModTime().Equal(s.time)
	return same && (s.info == nil || os.SameFile(now, s.info))
}

// removeSent removes the file that was sent, unless there is another one of its
// name by now.
func (j *Job) removeSent(name string, sent stamp) {
	now, err := j.root.Lstat(name)
	if err == nil && sent.of(now) {
		err = j.root.Remove(name)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		j.log.Warn("sent file not removed", logJob(j), logError(err))
	}
}

// patience is how long a delivery is tried again that makes no progress.
func (s *sending) patience() time.Duration {
	if s.req.Timeout > 0 {
		return s.req.Timeout
	}
	return defaultPatience
}
