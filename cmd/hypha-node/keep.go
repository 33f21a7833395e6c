package main

import (
	"context"
	"errors"
	"fmt"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/internal/humanize"
	"github.com/hypha-node/hypha-node/node"
)

// pinCmd is `pin`.
type pinCmd struct {
	Add pinAddCmd `cmd:"" help:"Keep content, getting what is missing of it."`
	Rm  pinRmCmd  `cmd:"" help:"Remove a pin."`
	Ls  pinLsCmd  `cmd:"" help:"List all pins."`
}

// pinAddCmd is `pin add`.
type pinAddCmd struct {
	Path string `arg:"" name:"cid" help:"CID[/path]."`
	Name string `placeholder:"TEXT" help:"Name of the pin. Content may have several."`
	pinEnd
	Owner string `placeholder:"TEXT" help:"Who has set it. Default: your user name."`
	network
}

// pinEnd says when a pin ends.
type pinEnd struct {
	For     string `xor:"end" placeholder:"TIME" help:"Keep it for so long only: 90m, 24h, 30d."`
	Expires string `xor:"end" placeholder:"TIME" help:"Keep it until then only: 2030-12-31, or with a time as in 2030-12-31T18:00:00Z."`
}

// at returns when that is, zero for never.
func (e pinEnd) at(now time.Time) (time.Time, error) {
	var ends time.Time
	switch {
	case e.For != "":
		d, err := parseSpan(e.For)
		if err != nil {
			return ends, &failure{code: exitUsage, err: fmt.Errorf("--for: %q is no time, as in 90m, 24h, 30d", e.For)}
		}
		return now.Add(d), nil
	case e.Expires != "":
		for _, form := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
			ends, err := time.ParseInLocation(form, e.Expires, time.Local)
			switch {
			case err != nil:
			case !ends.After(now):
				return ends, &failure{code: exitUsage, err: fmt.Errorf("--expires: %s is past", e.Expires)}
			default:
				return ends, nil
			}
		}
		return ends, &failure{code: exitUsage, err: fmt.Errorf("--expires: %q is no time, as in 2030-12-31 or 2030-12-31T18:00:00Z", e.Expires)}
	}
	return ends, nil
}

// parseSpan reads a duration, which may be in days.
func parseSpan(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n uint64
		if n, err = strconv.ParseUint(days, 10, 16); err == nil {
			d = time.Duration(n) * 24 * time.Hour //nolint:gosec // 16 bits
		}
	}
	if err == nil && d <= 0 {
		err = errors.New("not in the future")
	}
	return d, err
}

// spanText is what parseSpan reads.
func spanText(d time.Duration) string {
	if day := 24 * time.Hour; d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	return d.String()
}

// self returns the name of who runs the program.
func self() string {
	if u, err := user.Current(); err == nil && len(u.Username) <= blockstore.MaxOwner {
		return u.Username
	}
	return ""
}

// Run pins.
func (c *pinAddCmd) Run(ctx context.Context, a *app) error {
	ends, err := c.at(time.Now())
	if err != nil {
		return err
	}
	owner := c.Owner
	if owner == "" {
		owner = self()
	}
	return a.withNode(ctx, func(cl *control.Client) error {
		p, err := cl.Pin(ctx, control.PinRequest{Path: c.Path, Name: c.Name, TimeoutMS: c.ms(), Expires: ends, Owner: owner})
		if err != nil {
			return err
		}
		if p.Expires.IsZero() {
			return a.out.print(p, "pinned %s", p.CID)
		}
		return a.out.print(p, "pinned %s until %s", p.CID, p.Expires.Local().Format(time.DateTime))
	})
}

// pinRmCmd is `pin rm`.
type pinRmCmd struct {
	Path string `arg:"" name:"cid" help:"CID[/path]."`
	Name string `placeholder:"TEXT" help:"Name of the pin."`
}

// Run unpins.
func (c *pinRmCmd) Run(ctx context.Context, a *app) error {
	return a.withNode(ctx, func(cl *control.Client) error {
		p, err := cl.Unpin(ctx, control.PinRequest{Path: c.Path, Name: c.Name})
		if err != nil {
			return err
		}
		return a.out.print(p, "unpinned %s", p.CID)
	})
}

// pinLsCmd is `pin ls`.
type pinLsCmd struct{}

// Run lists the pins.
func (*pinLsCmd) Run(ctx context.Context, a *app) error {
	return a.withNode(ctx, func(cl *control.Client) error {
		return each(a, cl.Pins(ctx), func(p control.Pin) error { return a.out.print(p, "%s  %s", p.CID, pinText(p)) })
	})
}

// pinText returns when and as what something was pinned, by whom and until when.
func pinText(p control.Pin) string {
	text := p.Created.Local().Format(time.DateTime)
	if p.Name != "" {
		text += "  " + humanize.Escape(p.Name)
	}
	var more []string
	if p.Owner != "" && bridge.PinOwner(p.Name) == "" { // the name of a job's says it
		more = append(more, "by "+humanize.Escape(p.Owner))
	}
	if !p.Expires.IsZero() {
		more = append(more, "until "+p.Expires.Local().Format(time.DateTime))
	}
	if more != nil {
		text += "  (" + strings.Join(more, ", ") + ")"
	}
	return text
}

// gcCmd is `gc`.
type gcCmd struct{}

// Run collects.
func (*gcCmd) Run(ctx context.Context, a *app) error {
	return a.withNode(ctx, func(cl *control.Client) error {
		r, err := cl.Collect(ctx)
		if err != nil {
			return err
		}
		return a.out.print(r, "removed %d blocks of %d files, %s free again", r.Blocks, r.Files, humanize.Bytes(r.Bytes))
	})
}

// duCmd is `du`.
type duCmd struct{}

// Run counts.
func (*duCmd) Run(ctx context.Context, a *app) error {
	return a.withNode(ctx, func(cl *control.Client) error {
		u, err := cl.Usage(ctx)
		if err != nil {
			return err
		}
		if a.cli.JSON {
			return a.out.print(u, "")
		}
		rows := [][2]string{
			{"repository", humanize.Escape(u.Repo)},
			{"files", fmt.Sprint(u.Files)},
			{"blocks", fmt.Sprint(u.Blocks)},
			{"pins", fmt.Sprint(u.Pins)},
			{"segments", fmt.Sprint(u.Segments)},
			{"content", humanize.Bytes(u.Bytes)},
			{"on disk", humanize.Bytes(u.DiskBytes)},
			{"free", humanize.Bytes(u.FreeBytes)},
		}
		if u.StorageMax > 0 {
			rows = append(rows, [2]string{"storage", quotaText(u)})
		}
		return a.out.table(rows)
	})
}

// quotaText says how the store stands to its maximum.
func quotaText(u control.Usage) string {
	text := fmt.Sprintf("%s of at most %s (%d %%)", humanize.Bytes(u.StorageUsed), humanize.Bytes(u.StorageMax), 100*u.StorageUsed/u.StorageMax)
	if u.Evicted > 0 {
		text += fmt.Sprintf(", %s dropped for it", humanize.Bytes(u.Evicted))
	}
	return text
}

// verifyCmd is `verify`.
type verifyCmd struct {
	Rebuild bool `xor:"how" help:"Make the index anew from the segments. No daemon may run."`
	Repair  bool `xor:"how" help:"Fetch damaged blocks again: from peers if the daemon runs, or from where their file came from."`
}

// Run verifies. Damage is exit code 1: it was dropped, and what is fetched again
// is good again.
func (c *verifyCmd) Run(ctx context.Context, a *app) error {
	if c.Rebuild {
		return a.rebuild(ctx)
	}
	var bad, mended int
	err := a.withNode(ctx, func(cl *control.Client) error {
		return each(a, cl.Verify(ctx, control.VerifyRequest{Repair: c.Repair}), func(f control.Finding) error {
			note := ""
			if f.Mended {
				mended++
				note = " (mended)"
			} else {
				bad++
			}
			return a.out.print(f, "%s  %s at %d: %s%s", f.CID, humanize.Escape(f.Segment), f.Offset, humanize.Escape(f.Problem), note)
		})
	})
	switch {
	case err != nil:
		return err
	case bad > 0 && !c.Repair:
		return &failure{
			code: exitFailed, err: fmt.Errorf("%d damaged blocks were dropped", bad),
			hint: "fetch or add the content again, or `hypha-node pin add` what was pinned; `verify --repair` fetches what it finds",
		}
	case bad > 0:
		return &failure{
			code: exitFailed, err: fmt.Errorf("%d damaged blocks were dropped", bad),
			hint: "fetch or add the content again, or `hypha-node pin add` what was pinned",
		}
	case a.cli.JSON:
		return nil
	case mended > 0:
		return a.out.line("%d damaged blocks were mended", mended)
	}
	return a.out.line("everything is as it should be")
}

// rebuild makes the index anew and says what was found, and what only the index
// knew.
func (a *app) rebuild(ctx context.Context) error {
	cfg, err := a.nodeConfig()
	if err != nil {
		return err
	}
	r, err := node.Rebuild(ctx, cfg)
	if err != nil {
		return err
	}
	if a.cli.JSON {
		return a.out.print(r, "")
	}
	for _, f := range r.Damaged {
		if err := a.out.line("damaged: %s  %s at %d: %s", f.CID, humanize.Escape(f.Segment), f.Offset, humanize.Escape(f.Problem)); err != nil {
			return err
		}
	}
	for _, text := range r.Lost {
		if err := a.out.line("lost: %s", humanize.Escape(text)); err != nil {
			return err
		}
	}
	return a.out.line("found %d files, %d blocks, %d aliases in %d segments; all files are pinned", r.Files, r.Blocks, r.Aliases, r.Segments)
}
