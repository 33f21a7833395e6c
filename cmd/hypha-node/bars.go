package main

import (
	"math"
	"os"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/cwriter"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/internal/humanize"
)

// speedAge is how many updates the shown speed averages over: about 3 s.
const speedAge = 30

// bars draws the progress of files on a terminal. A nil *bars draws nothing.
type bars struct {
	out  *output
	all  *mpb.Progress
	each map[string]*bar
	sum  *bar  // of all files, once there are several
	over int64 // bytes of the files that are done
	many int   // files that were seen
}

// bar is one file under way.
type bar struct {
	*mpb.Bar
	last control.Progress
	at   time.Time
	from atomic.Pointer[string] // read by who draws
}

// newBars returns bars on standard error, nil if that is no terminal or the
// output is for programs.
func (a *app) newBars() *bars {
	if a.cli.JSON || a.quiet || !cwriter.IsTerminal(int(a.stderr.Fd())) {
		return nil
	}
	b := &bars{
		out:  a.out,
		all:  mpb.New(mpb.WithOutput(a.stderr), mpb.WithWidth(40), mpb.WithRefreshRate(100*time.Millisecond)),
		each: map[string]*bar{},
	}
	if sameTerminal(a.stdout, a.stderr) {
		a.out.over = func(line []byte) error {
			_, err := b.all.Write(line)
			return err
		}
	}
	return b
}

// sameTerminal tells whether both are terminals: lines on one would cut through
// the bars on the other.
func sameTerminal(a, b *os.File) bool {
	return cwriter.IsTerminal(int(a.Fd())) && cwriter.IsTerminal(int(b.Fd()))
}

// update draws how far a file is.
func (b *bars) update(p control.Progress) {
	if b == nil {
		return
	}
	now := time.Now()
	at, known := b.each[p.Path]
	if !known {
		at = b.add(p)
		b.each[p.Path] = at
		b.many++
	}
	defer func() { b.total(now) }()
	if p.Total > 0 && p.Total != at.last.Total {
		at.SetTotal(p.Total, false)
	}
	counts := known && at.last.From == p.From
	from := p.From
	if from != "" {
		from += over(p.Transport)
	}
	at.from.Store(&from)
	at.last = p
	if counts {
		at.EwmaSetCurrent(p.Done, max(now.Sub(at.at), time.Millisecond))
	} else {
		at.SetCurrent(p.Done) // how long this took is not known, and some may have been here: no speed yet
	}
	at.at = now
}

// total draws how far all files are that were seen. How much they are is known only
// when each has said its size; files that are not listed yet are not counted.
func (b *bars) total(now time.Time) {
	if b.many < 2 {
		return
	}
	done, all := b.over, b.over
	for _, at := range b.each {
		done += at.last.Done
		all += max(at.last.Total, at.last.Done)
	}
	if b.sum == nil {
		// Without a total at first: a bar that had one is over for good when it is
		// reached, and there may be more files to come.
		b.sum = b.draw("total", "", 0, math.MaxInt)
		b.sum.SetTotal(all, false)
		b.sum.SetCurrent(done) // some of it may have been here
	} else {
		b.sum.SetTotal(all, false)
		b.sum.EwmaSetCurrent(done, max(now.Sub(b.sum.at), time.Millisecond))
	}
	b.sum.at = now
}

// add makes the bar of a file.
func (b *bars) add(p control.Progress) *bar {
	name := humanize.Escape(p.Path)
	const most = 30 // columns: the end of a name tells files of one repository apart
	if runes := []rune(name); len(runes) > most {
		name = "…" + string(runes[len(runes)-most+1:])
	}
	return b.draw(name, p.From, p.Total, b.many)
}

// draw makes a bar; those of a higher priority are further down. from is where the
// bytes come from, as far as that is known by now.
func (b *bars) draw(name, from string, total int64, priority int) *bar {
	made := &bar{last: control.Progress{From: from}}
	made.Bar = b.all.New(max(total, 0), mpb.BarStyle().Lbound("").Rbound("").Filler("━").Tip("━").Padding("─"),
		mpb.BarPriority(priority),
		mpb.PrependDecorators(decor.Name(name, decor.WCSyncSpaceR)),
		mpb.AppendDecorators(
			decor.Any(func(s decor.Statistics) string {
				if s.Total <= 0 {
					return humanize.Bytes(s.Current)
				}
				return humanize.Bytes(s.Current) + " / " + humanize.Bytes(s.Total)
			}, decor.WCSyncSpace),
			decor.EwmaSpeed(decor.SizeB1024(0), "% .1f", speedAge, decor.WCSyncSpace),
			decor.OnComplete(decor.EwmaETA(decor.ET_STYLE_GO, speedAge, decor.WCSyncSpace), ""),
			decor.Any(func(decor.Statistics) string {
				if from := made.from.Load(); from != nil && *from != "" {
					return " from " + *from
				}
				return ""
			}),
		),
	)
	made.from.Store(&from)
	return made
}

// done removes the bar of a file.
func (b *bars) done(path string) {
	if b == nil {
		return
	}
	if at, ok := b.each[path]; ok {
		at.Abort(true)
		delete(b.each, path)
		b.over += max(at.last.Total, at.last.Done)
	}
}

// close removes all bars and ends the drawing.
func (b *bars) close() {
	if b == nil {
		return
	}
	for path := range b.each {
		b.done(path)
	}
	if b.sum != nil {
		b.sum.Abort(true)
	}
	b.out.over = nil
	b.all.Wait() // until they are wiped off
}
