package main

import (
	"sync"
	"time"

	"github.com/hypha-node/hypha-node/api/control"
)

// eventGap is the least time between two lines of --progress about one file.
const eventGap = 200 * time.Millisecond

// progress shows how far files are: as bars on a terminal, as lines of JSON with
// --json --progress, or not at all. It is safe for concurrent use.
type progress struct {
	app    *app
	events bool // lines of JSON

	mu     sync.Mutex
	closed bool
	bars   *bars
	last   map[string]time.Time // of the lines, by path
}

// progressLine is a line of --json --progress.
type progressLine struct {
	Event string `json:"event"` // "progress": lines of results have no such field
	control.Progress
}

// newProgress returns what shows progress; close it.
func (a *app) newProgress() *progress {
	p := &progress{app: a, events: a.events && a.cli.JSON, last: map[string]time.Time{}}
	if !p.events {
		p.bars = a.newBars()
	}
	return p
}

// update says how far a file is.
func (p *progress) update(at control.Progress) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil
	case !p.events:
		p.bars.update(at)
		return nil
	}
	now := time.Now()
	if before, ok := p.last[at.Path]; ok && now.Sub(before) < eventGap {
		return nil
	}
	p.last[at.Path] = now
	return p.app.out.print(progressLine{Event: "progress", Progress: at}, "")
}

// done shows the result of a file, by show, in the place of its progress.
func (p *progress) done(path string, show func() error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bars.done(path)
	delete(p.last, path)
	return show()
}

// close takes away what is left on a terminal.
func (p *progress) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bars.close()
	p.closed = true
}
