package main

import (
	"os"
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
}

// bar is one file under way.
type bar struct {
	*mpb.Bar
	last control.Progress
	at   time.Time
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
	}
	if p.Total > 0 && p.Total != at.last.Total {
		at.SetTotal(p.Total, false)
	}
	counts := known && at.last.From == p.From
	at.last = p
	if counts {
		at.EwmaSetCurrent(p.Done, max(now.Sub(at.at), time.Millisecond))
	} else {
		at.SetCurrent(p.Done) // how long this took is not known, and some may have been here: no speed yet
	}
	at.at = now
}

// add makes the bar of a file.
func (b *bars) add(p control.Progress) *bar {
	made := &bar{}
	name := humanize.Escape(p.Path)
	const most = 30 // columns: the end of a name tells files of one repository apart
	if runes := []rune(name); len(runes) > most {
		name = "…" + string(runes[len(runes)-most+1:])
	}
	from := p.From
	if from != "" {
		from = " from " + from
	}
	made.Bar = b.all.New(max(p.Total, 0), mpb.BarStyle().Lbound("").Rbound("").Filler("━").Tip("━").Padding("─"),
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
			decor.Name(from),
		),
	)
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
	b.out.over = nil
	b.all.Wait() // until they are wiped off
}
