package ingest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"time"

	"github.com/hypha-node/hypha-node/bitswap/crew"
	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/dag"
)

// joint is a flight's part in the work of those who fetch the same content.
type joint struct {
	share *crew.Share
	told  int64 // bytes of others that were counted; guarded by the flight
	again int64 // bytes that the origin sent in the place of wrong ones

	mu   sync.Mutex
	said *connectors.Body             // what was said of the first body; nil before
	via  map[string]int64             // of bodies that were closed
	open map[*ranged]*connectors.Body // the others
}

// joinCrew has a flight share the work of an origin, where its content is known and
// for everybody: as with asksPeers, nobody is told of what comes with a credential.
func (e *Engine) joinCrew(ctx context.Context, f *flight, want expected) {
	if !e.mayShare(f, want) {
		return
	}
	share := e.cfg.Crew.Join(ctx, crew.Content{Sum: *want.sha256, Size: want.size, Read: f.part.read})
	if share == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.joint = &joint{share: share, via: make(map[string]int64), open: make(map[*ranged]*connectors.Body)}
}

// mayShare tells whether a flight is to join others, and has not yet.
func (e *Engine) mayShare(f *flight, want expected) bool {
	return e.cfg.Crew != nil && f.joint == nil && !f.alone && want.sha256 != nil && f.item.Scope == "" && !f.item.Local
}

// leaveCrew ends that. whole says that the content is in the store, for everybody.
func (f *flight) leaveCrew(whole bool) {
	f.mu.Lock()
	j := f.joint
	f.joint = nil
	f.mu.Unlock()
	if j != nil {
		j.share.Leave(whole)
	}
}

// goAlone has a flight begin anew without others: what it got with them was of no use.
func (f *flight) goAlone() {
	f.leaveCrew(false)
	f.alone = true
}

// measure asks the origin for the size of a content that others may fetch, too, and has
// the flight join them: who opens all of it to learn its size has much of it sent that
// others have been sent, too.
func (e *Engine) measure(ctx context.Context, f *flight) error {
	it := f.item
	if !e.mayShare(f, expect(it)) || it.Size >= 0 || !e.cfg.Crew.Company() {
		return nil
	}
	body, err := it.Open(ctx, 0, 1, nil)
	if err != nil {
		return err
	}
	want, err := expect(it).with(it, body)
	if !body.Unparted {
		_, rerr := io.Copy(io.Discard, body) // so that the connection can be used again
		err = errors.Join(err, rerr)
	}
	_ = body.Close() // it was only read
	if err != nil || body.Unparted {
		return err
	}
	f.item.Size = want.size
	e.joinCrew(ctx, f, want)
	return nil
}

// shared returns a body for a content that others fetch, too, or may begin to, so that
// nobody has to ask for all of it; nil if there is nobody.
func (e *Engine) shared(ctx context.Context, f *flight) *connectors.Body {
	if f.joint == nil {
		return nil
	}
	if f.joint.met(ctx, e.cfg.Patience); !f.joint.share.Company() && !f.joint.share.Crowded() {
		return nil
	}
	return &connectors.Body{Size: f.item.Size}
}

// met waits for the answers of those who are connected.
func (j *joint) met(ctx context.Context, patience time.Duration) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-j.share.Met():
	case <-timer.C:
	case <-ctx.Done():
	}
}

// share makes a body that was opened one that takes ranges from others, too.
func (e *Engine) share(ctx context.Context, f *flight, body *connectors.Body, b *beginning) {
	j := f.joint
	if j == nil {
		return
	}
	j.met(ctx, e.cfg.Patience)
	var off int64
	if b != nil {
		off = b.Size()
	}
	var lone io.ReadCloser
	if body.ReadCloser != nil {
		opened := *body
		lone = j.enter(&opened)
	}
	body.Via = j.transports
	body.ReadCloser = j.share.Open(ctx, off, lone, func(ctx context.Context, off, n int64) (io.ReadCloser, bool, error) {
		return j.ask(ctx, f.item, [3]int64{off, n, body.Size})
	})
}

// ask opens a range of an item: offset, bytes or -1, and bytes of the whole.
func (j *joint) ask(ctx context.Context, it connectors.Item, at [3]int64) (io.ReadCloser, bool, error) {
	body, err := it.Open(ctx, at[0], at[1], nil)
	if err != nil {
		return nil, false, err
	}
	if body.Size >= 0 && body.Size != at[2] {
		_ = body.Close() // nothing was read
		return nil, false, mismatch(it, fmt.Sprintf("%d bytes", at[2]), fmt.Sprintf("%d bytes", body.Size))
	}
	return j.enter(body), !body.Unparted, nil
}

// ranged is a body of a range.
type ranged struct {
	io.ReadCloser
	j *joint
}

// enter notes a body that was opened.
func (j *joint) enter(body *connectors.Body) io.ReadCloser {
	r := &ranged{body.ReadCloser, j}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.open[r] = body
	if j.said == nil {
		j.said = body
	}
	return r
}

// Close counts what the body has brought.
func (r *ranged) Close() error {
	err := r.ReadCloser.Close()
	r.j.mu.Lock()
	defer r.j.mu.Unlock()
	if body := r.j.open[r]; body != nil && body.Via != nil {
		for name, n := range body.Via() {
			r.j.via[name] += n
		}
	}
	delete(r.j.open, r)
	return err
}

// transports is Body.Via of all bodies together.
func (j *joint) transports() map[string]int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := maps.Clone(j.via)
	for _, body := range j.open {
		if body.Via != nil {
			for name, n := range body.Via() {
				all[name] += n
			}
		}
	}
	return all
}

// finish gives a body, whose bytes have been read, what the origin said of them.
func (j *joint) finish(body *connectors.Body) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.said != nil {
		body.Meta, body.ETag, body.Key, body.Revision = j.said.Meta, j.said.ETag, j.said.Key, j.said.Revision
	}
}

// account says whose bytes those of a file were.
func (j *joint) account(got *Fetched) {
	if j == nil {
		return
	}
	if got.OriginBytes, got.PeerBytes = j.share.Came(); got.OriginBytes == 0 && got.PeerBytes > 0 {
		got.From = FromPeer
	}
	got.OriginBytes += j.again
	if j.said != nil {
		got.ETag, got.Revision = cmp.Or(got.ETag, j.said.ETag), cmp.Or(got.Revision, j.said.Revision)
	}
}

// fresh returns how many of n bytes that were taken in came from others; the flight's
// lock is held.
func (j *joint) fresh(n int64) int64 {
	if j == nil {
		return 0
	}
	_, peers := j.share.Came()
	n = min(n, peers-j.told)
	j.told += n
	return n
}

// Send writes n bytes from off of the stored file with a sha256, if it is here and
// nobody needs a credential for it: it is crew.Config.Stored.
func Send(ctx context.Context, s blockstore.Store, w io.Writer, sum [sha256.Size]byte, at [2]int64) (err error) {
	file, ok, err := Public(ctx, s, sum)
	if err != nil || !ok {
		return orNotFound(err)
	}
	r, err := dag.Open(ctx, s, file.Root)
	if err != nil {
		return err
	}
	defer r.Close() // it is only read
	_, err = r.CopyRange(ctx, w, at[0], at[1])
	return err
}

func orNotFound(err error) error {
	if err == nil {
		err = connectors.ErrNotFound
	}
	return err
}
