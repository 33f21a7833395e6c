package bridge

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/blockstore"
)

const (
	// lastingFor is how long a send that nobody waits for is tried, unless its
	// request says otherwise: a node that is down for a night gets it.
	lastingFor = 24 * time.Hour
	// maxOutbox is how many deliveries may wait: each costs a few goroutines' worth
	// of memory.
	maxOutbox = 4096
	// numberStep is how many numbers of send calls are recorded as used at once.
	numberStep = 1024
)

// outbox is the sends that were accepted and that nobody waits for. One is
// recorded, with its content pinned, before its caller is told, and forgotten
// when every peer has the file or will never take it. What a crash leaves is
// sent again under the same transfer ids: a peer that has kept it says so.
type outbox struct {
	log  inboxLog
	pins *pinner
	warn func(msg string, err error)

	mu      sync.Mutex
	waiting int // deliveries
}

// openOutbox takes over what an earlier process has left.
func openOutbox(ctx context.Context, l inboxLog, all *loaded, pins *pinner) (*outbox, error) {
	o := &outbox{log: l, pins: pins}
	for _, s := range all.sends {
		o.waiting += len(s.Peers)
		pins.adopt(s.file.Root)
	}
	var err error
	if all.outUnclean {
		err = pins.sweep(ctx)
	}
	switch {
	case err != nil:
	case len(all.sends) > 0: // their pins go while this process runs
		pins.marked = all.outUnclean
		err = pins.unclean(ctx)
	case all.outUnclean:
		err = l.drop(ctx, outUncleanKey)
	}
	if err != nil {
		return nil, fmt.Errorf("open outbox: %w", err)
	}
	return o, nil
}

// admit accounts for n deliveries; ErrBusy if too many wait.
func (o *outbox) admit(n int) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.waiting > 0 && o.waiting+n > maxOutbox {
		return fmt.Errorf("%w: %d deliveries wait, %d are the limit", ErrBusy, o.waiting, maxOutbox)
	}
	o.waiting += n
	return nil
}

// dismiss takes n deliveries out of the account.
func (o *outbox) dismiss(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting -= n
}

// keep pins the content of a send and records it.
func (o *outbox) keep(ctx context.Context, s storedSend) error {
	if err := o.pins.acquire(ctx, s.file.Root); err != nil {
		return fmt.Errorf("pin: %w", err)
	}
	if err := o.log.putSend(ctx, s); err != nil {
		// It may be recorded all the same; the caller must not be sent for then.
		return fmt.Errorf("record: %w", errors.Join(err, o.forget(ctx, s)))
	}
	return nil
}

// forget drops the record of a send, then its pin.
func (o *outbox) forget(ctx context.Context, s storedSend) error {
	if err := o.log.drop(ctx, sequenceKey(sendKey, s.seq)); err != nil {
		o.pins.abandon(s.file.Root)
		return err
	}
	return o.pins.release(ctx, s.file.Root)
}

// close drops the mark if no pin was left behind.
func (o *outbox) close() {
	if !o.pins.clean() {
		return
	}
	if err := o.log.drop(context.Background(), outUncleanKey); err != nil {
		o.warn("mark not removed", err)
		return
	}
	o.pins.unmark()
}

// number returns the number of the next send call; j.sendMu is held. Numbers are
// used once, also by a process that comes after a crash.
func (j *Job) number(ctx context.Context) (int64, error) {
	if j.outbox != nil && j.sends >= j.allowed {
		allowed := j.sends + numberStep
		if err := j.outbox.log.putSent(ctx, allowed); err != nil {
			return 0, fmt.Errorf("record: %w", err)
		}
		j.allowed = allowed
	}
	n := j.sends
	j.sends++
	return n, nil
}

// numbered records how many numbers were used in truth.
func (j *Job) numbered() {
	j.sendMu.Lock()
	defer j.sendMu.Unlock()
	if j.sends == j.allowed {
		return
	}
	if err := j.outbox.log.putSent(context.Background(), j.sends); err != nil {
		j.outbox.warn("number of sends not recorded", err)
		return
	}
	j.allowed = j.sends
}

// storedSend is an accepted send as it is recorded.
type storedSend struct {
	seq  int64 // of the record's key
	file blockstore.File

	Transfer string    `json:"transfer"`
	At       time.Time `json:"at"`
	Until    time.Time `json:"until"`
	Peers    []string  `json:"peers"` // in the order in which they are tried
	Strategy Strategy  `json:"strategy"`
	Path     string    `json:"path"`
	Name     string    `json:"name"`
	Channel  string    `json:"channel,omitempty"`
	Key      string    `json:"key,omitempty"`
	Base     string    `json:"base,omitempty"` // transfer whose deliveries it repeats
	Remove   bool      `json:"remove,omitempty"`
	Modified time.Time `json:"modified"` // the file, when it was read
	CID      string    `json:"cid"`
	Size     int64     `json:"size"`
	SHA256   string    `json:"sha256"` // 64 lower hex digits
}

// putSend records a send under its number.
func (l inboxLog) putSend(ctx context.Context, s storedSend) error {
	s.CID, s.Size, s.SHA256 = s.file.Root.String(), s.file.Size, hex.EncodeToString(s.file.SHA256[:])
	value, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return l.records.Put(ctx, l.prefix+sequenceKey(sendKey, s.seq), value)
}

// putSent records that numbers of send calls below n are used.
func (l inboxLog) putSent(ctx context.Context, n int64) error {
	return l.records.Put(ctx, l.prefix+sentKey, []byte(strconv.FormatInt(n, 10)))
}

// putOutUnclean says that pins may be left behind from now on.
func (l inboxLog) putOutUnclean(ctx context.Context) error {
	return l.records.Put(ctx, l.prefix+outUncleanKey, []byte{1})
}

// send reads the record of a send.
func (a *loaded) send(key string, value []byte) error {
	var s storedSend
	err := json.Unmarshal(value, &s)
	if err == nil {
		s.seq, err = strconv.ParseInt(key, 16, 64)
	}
	if err == nil {
		s.file.Root, err = cid.Decode(s.CID)
	}
	if err != nil {
		return err
	}
	if len(s.Peers) == 0 || s.seq < 0 || s.Size < 0 {
		return errors.New("no peers, or a negative number")
	}
	s.file.Size = s.Size
	if s.file.SHA256, err = parseSHA256(s.SHA256); err != nil {
		return err
	}
	a.sends = append(a.sends, s)
	return nil
}

// parseSHA256 reads 64 hex digits.
func parseSHA256(text string) (sum [32]byte, err error) {
	if n, err := hex.Decode(sum[:], []byte(text)); err != nil || n != len(sum) || len(text) != hex.EncodedLen(n) {
		return sum, fmt.Errorf("no sha256: %.100q", text)
	}
	return sum, nil
}

// SendLater does what Send does, and returns the id of the transfer once the
// file was read, has its place in the order, and is recorded: neither a crash nor
// a restart of the node loses it, nor does a change of the file change it. It is
// tried until every peer has it or refuses it for good, for r.Timeout or, without
// one, a day; Cancel and the job's end end it. ErrOffline, ErrBusy when too much
// waits, and the errors that Send has before it offers anything.
func (j *Job) SendLater(ctx context.Context, r SendRequest) (transferID string, err error) {
	if j.outbox == nil {
		return "", ErrOffline
	}
	// Its own time begins when it is accepted.
	age := cmp.Or(max(r.Timeout, 0), lastingFor)
	r.Timeout = 0
	s, opCtx, err := j.newSending(context.WithoutCancel(ctx), r, true)
	if before, ok := errors.AsType[*repeated](err); ok {
		return before.is.ID, nil
	}
	if err != nil {
		return "", err
	}
	id := s.transfer.id()
	s.later = &lasting{age: age}
	s.later.active.Store(int64(len(s.tickets)))
	if err := s.accept(opCtx); err != nil {
		s.abort(err)
		return "", err
	}
	s.repeat.accept(id)
	opCtx, s.cancel = context.WithTimeoutCause(opCtx, age, errGivenUp)
	go s.outlast(opCtx) // the job's Stop waits for it: it is an operation
	return id, nil
}

// accept reads the file and records the send.
func (s *sending) accept(ctx context.Context) error {
	o := s.job.outbox
	if err := o.admit(len(s.peers)); err != nil {
		return err
	}
	defer s.job.hold()() // until it is pinned
	err := s.snapshot(ctx)
	if err == nil {
		at := s.job.now().UTC()
		s.later.stored = storedSend{
			seq: s.seq, file: s.offer.File, Transfer: s.transfer.id(), At: at, Until: at.Add(s.later.age),
			Peers: s.peers, Strategy: s.req.Strategy, Path: s.req.Path, Name: s.req.Name, Channel: s.req.Channel,
			Key: s.req.Key, Base: s.base, Remove: s.req.RemoveFile, Modified: s.read.time,
		}
		err = o.keep(ctx, s.later.stored)
	}
	if err != nil {
		o.dismiss(len(s.peers))
	}
	return cause(ctx, err)
}

// resume goes on with what an earlier process has accepted, in the order of the
// calls.
func (j *Job) resume(list []storedSend) {
	if j.peers == nil {
		return // it waits until the node has a network again
	}
	for _, st := range list {
		ctx, done, err := j.begin(context.Background())
		if err != nil {
			return // closed already
		}
		ctx, cancel := context.WithCancelCause(ctx)
		t := j.ledger.resume(Transfer{ID: st.Transfer, Kind: kindSend, Name: clip(st.Path), Started: st.At.UTC()}, cancel, nil)
		s := &sending{
			job: j, peers: st.Peers, seq: st.seq, transfer: t,
			req: SendRequest{
				Peers: st.Peers, Strategy: st.Strategy, Path: st.Path, Name: st.Name, Channel: st.Channel, Key: st.Key, RemoveFile: st.Remove,
			},
			read:  stamp{size: st.Size, time: st.Modified},
			later: &lasting{stored: st, resumed: true},
			base:  st.Base, key: cmp.Or(st.Key, st.Base, st.Transfer),
		}
		s.finish = s.finishing(func(err error) { t.end(err); done() })
		t.update(func(*Transfer) { t.key = st.Key })
		if s.repeat, _ = j.repeats.take(s.key, s.req); s.repeat != nil {
			s.repeat.accept(st.Transfer)
		}
		first := s.peers
		if st.Strategy != All {
			first = s.peers[:1]
		}
		for _, p := range first {
			s.tickets = append(s.tickets, j.lanes.take(p))
		}
		s.peers = slices.Clone(s.peers)
		s.prepare(st.file)
		ctx, s.cancel = context.WithTimeoutCause(ctx, st.Until.Sub(j.now()), errGivenUp)
		go s.outlast(ctx) // the job's Stop waits for it: it is an operation
	}
}
