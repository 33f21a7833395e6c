package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/vbauerster/mpb/v8/cwriter"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/internal/humanize"
)

// topCmd is `top`.
type topCmd struct {
	Every time.Duration `default:"1s" placeholder:"TIME" help:"Between two looks."`
	Count int           `short:"n" placeholder:"N" help:"End after so many looks. Default: at a signal."`
}

// topTick is one document of `top --json`.
type topTick struct {
	control.Status
	Rates topRates       `json:"rates"` // since the last tick; 0 in the first
	Peers []control.Peer `json:"connected"`
}

// topRates are in bytes per second.
type topRates struct {
	Origin   float64 `json:"origin"`   // content from origins
	Peer     float64 `json:"peer"`     // content from peers
	Received float64 `json:"received"` // blocks of bitswap
	Sent     float64 `json:"sent"`     // likewise
}

// Run shows what the node does, again and again. On a terminal each look takes the
// place of the one before.
func (c *topCmd) Run(ctx context.Context, a *app) error {
	if c.Every < 100*time.Millisecond || c.Count < 0 {
		return &failure{code: exitUsage, err: fmt.Errorf("--every %s --count %d: want at least 100ms, and no negative number", c.Every, c.Count)}
	}
	return a.needDaemon(ctx, "top", func(cl *control.Client) error {
		tick := time.NewTicker(c.Every)
		defer tick.Stop()
		var last *control.Status
		for i := 1; ; i++ {
			now, err := look(ctx, cl, last)
			if err != nil {
				return err
			}
			if err := a.showTop(now); err != nil || i == c.Count {
				return err
			}
			last = &now.Status
			select {
			case <-tick.C:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	})
}

// look asks the node for everything that is shown.
func look(ctx context.Context, cl *control.Client, last *control.Status) (topTick, error) {
	st, err := cl.Status(ctx)
	if err != nil {
		return topTick{}, err
	}
	t := topTick{Status: st, Rates: ratesOf(last, st), Peers: []control.Peer{}}
	if st.Online {
		t.Peers, err = cl.Peers(ctx)
	}
	return t, err
}

// ratesOf compares two looks at the same run of a node.
func ratesOf(last *control.Status, now control.Status) topRates {
	if last == nil || !last.Started.Equal(now.Started) {
		return topRates{}
	}
	took := now.Time.Sub(last.Time).Seconds()
	if took <= 0 {
		return topRates{}
	}
	rate := func(was, is uint64) float64 { return float64(is-was) / took }
	return topRates{
		Origin:   float64(now.Fetch.Bytes["origin"]-last.Fetch.Bytes["origin"]) / took,
		Peer:     float64(now.Fetch.Bytes["peer"]-last.Fetch.Bytes["peer"]) / took,
		Received: rate(last.Network.BytesReceived, now.Network.BytesReceived),
		Sent:     rate(last.Network.BytesSent, now.Network.BytesSent),
	}
}

// Control sequences of terminals (ECMA-48): to the upper left, and clear what is
// behind the cursor.
const (
	cursorHome = "\x1b[H"
	clearBelow = "\x1b[J"
	clearLine  = "\x1b[K"
)

// showTop prints one look.
func (a *app) showTop(t topTick) error {
	if a.cli.JSON {
		return a.out.print(t, "")
	}
	text := t.text()
	if !cwriter.IsTerminal(int(a.stdout.Fd())) {
		return a.out.line("%s\n", text)
	}
	return a.out.line("%s%s%s%s", cursorHome, strings.ReplaceAll(text, "\n", clearLine+"\n"), clearLine, clearBelow)
}

// text is one look for people.
func (t topTick) text() string {
	var b strings.Builder
	perSecond := func(n float64) string { return humanize.Bytes(int64(n)) + "/s" }
	for _, r := range statusRows(t.Status) {
		fmt.Fprintf(&b, "%-8s  %s\n", r[0], r[1])
	}
	fmt.Fprintf(&b, "%-8s  %s from origins, %s from peers; blocks %s in, %s out\n", "rates",
		perSecond(t.Rates.Origin), perSecond(t.Rates.Peer), perSecond(t.Rates.Received), perSecond(t.Rates.Sent))
	fmt.Fprintf(&b, "\n%d on their way\n", len(t.Fetch.Active))
	for _, f := range t.Fetch.Active {
		fmt.Fprintf(&b, "  %s\n", activeText(f))
	}
	fmt.Fprintf(&b, "\n%d peers", len(t.Peers))
	for _, p := range t.Peers {
		fmt.Fprintf(&b, "\n  %s  %-3s  %s  %s", p.PeerID, p.Direction, p.Address, humanize.Escape(p.Agent))
	}
	return b.String()
}
