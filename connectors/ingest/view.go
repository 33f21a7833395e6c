package ingest

import (
	"context"
	"errors"
	"io"
	"sync"
)

// Errors of a View.
var (
	// ErrEnded says that nothing more is to be seen of a download: it has ended,
	// one way or the other, and the caller of Fetch knows which.
	ErrEnded = errors.New("the download has ended")
	// ErrRestarted says that a content is being downloaded anew: what was read
	// of it before may belong to another.
	ErrRestarted = errors.New("the download began anew")
)

// View lets one reader see a content while it is downloaded, whoever's call of
// Fetch began the download, for as long as its own call waits (Options.View).
// What it shows is not verified: whether the content is what it should be is
// known when Fetch returns. A View is used for one Fetch.
type View struct {
	mu      sync.Mutex
	part    *part         // of the flight that is watched; nil before the first
	over    bool          // Fetch has returned
	source  io.ReaderAt   // that was read from; nil if nothing was
	mixed   bool          // another download followed the one that was read from
	changed chan struct{} // closed when part or over change
}

// NewView returns a View for one call of Fetch.
func NewView() *View { return &View{changed: make(chan struct{})} }

// attach shows the part of a flight.
func (v *View) attach(p *part) {
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.mixed = v.mixed || v.source != nil && v.part != p
	v.part = p
	v.tell()
}

// end says that Fetch returns.
func (v *View) end() {
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.over = true
	v.tell()
}

// tell wakes who waits; the caller holds the lock.
func (v *View) tell() {
	close(v.changed)
	v.changed = make(chan struct{})
}

// Same tells, when Fetch has returned a file, whether what was read before is
// the beginning of that very file, and not of a download that failed or was
// begun anew.
func (v *View) Same() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.source == nil {
		return true
	}
	v.part.mu.Lock()
	defer v.part.mu.Unlock()
	return !v.mixed && v.part.source == v.source
}

// Began waits until the content has begun to come from an origin or a peer: it
// was opened there, without an error. ErrEnded says that Fetch has returned.
func (v *View) Began(ctx context.Context) error {
	return v.wait(ctx, func(p *part) bool { return p.begun })
}

// ReadAt reads what is there from offset off on, at most len(p) bytes, and waits
// until there is one. It never reads behind the end of the content; ErrEnded
// comes when Fetch has returned, and may come before.
func (v *View) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	var source io.ReaderAt
	var there int64
	err := v.wait(ctx, func(part *part) bool {
		source, there = part.source, part.there
		return source != nil && there > off
	})
	if err != nil {
		return 0, err
	}
	v.mu.Lock()
	if v.source == nil {
		v.source = source
	}
	same := v.source == source
	v.mu.Unlock()
	if !same {
		return 0, ErrRestarted
	}
	n, err := source.ReadAt(p[:min(int64(len(p)), there-off)], off)
	if err != nil {
		return 0, ErrEnded // it is closed: being committed, or given up
	}
	return n, nil
}

// wait waits until a part is as wanted.
func (v *View) wait(ctx context.Context, wanted func(*part) bool) error {
	for {
		v.mu.Lock()
		part, over, changed := v.part, v.over, v.changed
		v.mu.Unlock()
		var moved chan struct{}
		switch {
		case over:
			return ErrEnded
		case part != nil:
			var ok bool
			if moved, ok = part.look(wanted); ok {
				return nil
			}
		}
		select {
		case <-changed:
		case <-moved:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// part is the content of a flight as far as it has come.
type part struct {
	mu      sync.Mutex
	begun   bool            // it was opened at its source
	source  io.ReaderAt     // where it can be read; nil while it can't
	there   int64           // bytes from the beginning that source has
	apart   map[int64]int64 // behind those: offset → end of what came out of order
	changed chan struct{}   // closed when something changed
}

func newPart() *part { return &part{changed: make(chan struct{})} }

// look tells whether the part is as wanted, and returns what is closed when it
// has changed.
func (p *part) look(wanted func(*part) bool) (moved chan struct{}, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed, wanted(p)
}

// change changes the part and tells those who look at it.
func (p *part) change(do func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	do()
	close(p.changed)
	p.changed = make(chan struct{})
}

// begin says that the content was opened.
func (p *part) begin() { p.change(func() { p.begun = true }) }

// open says where the content can be read from now on.
func (p *part) open(source io.ReaderAt) {
	p.change(func() { p.source, p.there, p.apart = source, 0, make(map[int64]int64) })
}

// add says that n bytes from offset off on are there. Of a copy that goes on with what
// an earlier one left nothing is shown: what was left has not been compared yet.
func (p *part) add(off, n int64) {
	p.change(func() {
		if p.source == nil {
			return
		}
		p.apart[off] = off + n
		for {
			end, ok := p.apart[p.there]
			if !ok || end == p.there {
				return
			}
			delete(p.apart, p.there)
			p.there = end
		}
	})
}

// read reads what is there from offset off on, and waits until there is some, for
// others who fetch the same content.
func (p *part) read(ctx context.Context, b []byte, off int64) (int, error) {
	for {
		var source io.ReaderAt
		var there int64
		moved, ok := p.look(func(p *part) bool {
			source, there = p.source, p.there
			return source != nil && there > off
		})
		if ok {
			return source.ReadAt(b[:min(int64(len(b)), there-off)], off)
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}
