package bridge

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/blockstore"
)

// PinName returns the name of the pins that keep in the store what a job fetched,
// or published for everybody. They and those whose names go on with "/" go with
// the job.
func PinName(id string) string { return "job:" + id }

// InboxPinName returns the name of the pins that keep what peers sent to a job.
func InboxPinName(id string) string { return PinName(id) + "/inbox" }

// OutboxPinName returns the name of the pins that keep what a job has sent until
// it has reached its peers.
func OutboxPinName(id string) string { return PinName(id) + "/outbox" }

// OutputPin returns the name of the pins that keep results that a job asked to be
// kept; they outlive the job.
func OutputPin(id string, announced bool) string {
	if announced {
		return "published:" + id
	}
	return quietPin + id
}

// MatchedPin returns the name of the pins that keep what the patterns of a job's
// spec matched; they go when the job is removed, unless its outputs are to stay.
func MatchedPin(id string, announced bool) string { return OutputPin(id, announced) + "/matched" }

// PinOwner returns the job that pins of a name belong to, "" if they are no job's.
func PinOwner(name string) string {
	for _, prefix := range []string{PinName(""), OutputPin("", false), OutputPin("", true)} {
		if id, ok := strings.CutPrefix(name, prefix); ok {
			id, _, _ = strings.Cut(id, "/")
			return id
		}
	}
	return ""
}

// quietPin begins the names of pins of results that the network is not told of.
const quietPin = "output:"

// Unannounced tells whether pins of a name keep what the network is not told of:
// what jobs received, and results that nobody asked to announce.
func Unannounced(name string) bool {
	return strings.HasPrefix(name, quietPin) || strings.HasPrefix(name, PinName("")) && strings.Contains(name, "/")
}

// putPin returns the name of the pin of a result.
func putPin(id string, r PutRequest) string {
	switch {
	case r.Pin:
		return OutputPin(id, r.Announce)
	case r.Announce:
		return PinName(id)
	}
	return PinName(id) + "/put"
}

// pinner keeps roots pinned for as long as items need them; several may need one.
type pinner struct {
	store blockstore.Labels
	name  string
	mark  func(context.Context) error // records, before the first pin, that pins may be left behind

	marking sync.Mutex
	marked  bool

	mu    sync.Mutex
	roots map[string]*pinned // by the CID's bytes
	left  bool               // a pin was left that nothing needs
}

// pinned is a root that items need, or whose pin is being removed.
type pinned struct {
	needed int // guarded by pinner.mu

	io   sync.Mutex // held while the pin is set or removed
	here bool       // guarded by io
}

func newPinner(store blockstore.Labels, name string, mark func(context.Context) error) *pinner {
	return &pinner{store: store, name: name, mark: mark, roots: map[string]*pinned{}}
}

// need counts one who needs a root.
func (p *pinner) need(root cid.Cid) *pinned {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.roots[root.KeyString()]
	if r == nil {
		r = &pinned{}
		p.roots[root.KeyString()] = r
	}
	r.needed++
	return r
}

// adopt counts one who needs a root that is pinned already.
func (p *pinner) adopt(root cid.Cid) { p.need(root).here = true }

// acquire pins a root, durably, for one more who needs it.
func (p *pinner) acquire(ctx context.Context, root cid.Cid) error {
	if err := p.unclean(ctx); err != nil {
		return err
	}
	r := p.need(root)
	r.io.Lock()
	defer r.io.Unlock()
	if r.here {
		return nil
	}
	if err := p.store.Pin(ctx, blockstore.Pin{Root: root, Name: p.name}); err != nil {
		p.drop(root, r)
		return err
	}
	r.here = true
	return nil
}

// unclean records once that pins may be left behind.
func (p *pinner) unclean(ctx context.Context) error {
	p.marking.Lock()
	defer p.marking.Unlock()
	if p.marked {
		return nil
	}
	if err := p.mark(ctx); err != nil {
		return err
	}
	p.marked = true
	return nil
}

// drop takes back one need and forgets a root that nobody needs. It tells
// whether that was the last; r.io is held.
func (p *pinner) drop(root cid.Cid, r *pinned) (last bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.needed--
	return p.forget(root, r)
}

// forget is drop's second half; p.mu is held.
func (p *pinner) forget(root cid.Cid, r *pinned) bool {
	if r.needed > 0 {
		return false
	}
	if !r.here {
		delete(p.roots, root.KeyString())
	}
	return true
}

// release unpins a root if nobody else needs it.
func (p *pinner) release(ctx context.Context, root cid.Cid) error {
	p.mu.Lock()
	r := p.roots[root.KeyString()]
	p.mu.Unlock()
	if r == nil {
		return fmt.Errorf("root %s was not pinned", root)
	}
	r.io.Lock()
	defer r.io.Unlock()
	if !p.drop(root, r) || !r.here {
		return nil
	}
	// Who needs it again meanwhile waits for r.io and pins it again.
	err := p.store.Unpin(ctx, root, p.name)
	if err != nil && !ipld.IsNotFound(err) {
		p.leave()
		return err
	}
	r.here = false
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forget(root, r)
	return nil
}

// abandon takes back a need and leaves the pin: nobody can tell whether what
// needs it is recorded. The next opening finds out.
func (p *pinner) abandon(root cid.Cid) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = true
	if r := p.roots[root.KeyString()]; r != nil {
		r.needed--
	}
}

func (p *pinner) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left = true
}

// clean tells whether the mark is there and can go: no pin was left behind.
func (p *pinner) clean() bool {
	p.marking.Lock()
	defer p.marking.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.marked && !p.left
}

// sweep removes the pins of this name that nobody needs.
func (p *pinner) sweep(ctx context.Context) error {
	var extra []cid.Cid
	for pin, err := range p.store.Pins(ctx) {
		if err != nil {
			return err
		}
		p.mu.Lock()
		if pin.Name == p.name && p.roots[pin.Root.KeyString()] == nil {
			extra = append(extra, pin.Root)
		}
		p.mu.Unlock()
	}
	for _, root := range extra {
		if err := p.store.Unpin(ctx, root, p.name); err != nil && !ipld.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// unmark says that the mark was removed: the next pin sets it again.
func (p *pinner) unmark() {
	p.marking.Lock()
	defer p.marking.Unlock()
	p.marked = false
}
