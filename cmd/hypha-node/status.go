package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/internal/humanize"
)

// statusCmd is `status`.
type statusCmd struct{}

// Run prints the node's numbers.
func (*statusCmd) Run(ctx context.Context, a *app) error {
	return a.needDaemon(ctx, "status", func(cl *control.Client) error {
		st, err := cl.Status(ctx)
		if err != nil {
			return err
		}
		if a.cli.JSON {
			return a.out.print(st, "")
		}
		rows := append([][2]string{{"peer id", st.PeerID}}, statusRows(st)...)
		rows = append(rows, [2]string{"on their way", fmt.Sprint(len(st.Fetch.Active))})
		for _, f := range st.Fetch.Active {
			rows = append(rows, [2]string{"", activeText(f)})
		}
		return a.out.table(rows)
	})
}

// statusRows returns the numbers for people.
func statusRows(st control.Status) [][2]string {
	rows := [][2]string{
		{"up", fmt.Sprintf("%s, version %s", humanize.Duration(st.Time.Sub(st.Started).Round(time.Second)), humanize.Escape(st.Version))},
		{"network", networkText(st)},
	}
	if st.Online {
		n := st.Network
		rows = append(rows,
			[2]string{"blocks", fmt.Sprintf("%d in (%s, %d in vain), %d out (%s)", n.BlocksReceived, humanize.Bytes(int64(n.BytesReceived)), n.Duplicates, n.BlocksSent, humanize.Bytes(int64(n.BytesSent)))}) //nolint:gosec // bytes since the start
	}
	if st.Store.StorageMax > 0 {
		rows = append(rows, [2]string{"storage", quotaText(st.Store)})
	}
	if st.Scrub.Rate > 0 {
		rows = append(rows, [2]string{"scrub", scrubText(st.Scrub)})
	}
	return append(rows,
		[2]string{"fetched", fetchedText(st.Fetch)},
		[2]string{"store", fmt.Sprintf("%d files, %d blocks, %s; %s free", st.Store.Files, st.Store.Blocks, humanize.Bytes(st.Store.Bytes), humanize.Bytes(st.Store.FreeBytes))},
		[2]string{"jobs", jobsText(st.Jobs)})
}

// scrubText says what the scrub does and found.
func scrubText(s control.ScrubStatus) string {
	text := "no pass yet"
	if !s.Last.IsZero() {
		text = "last pass ended " + s.Last.Local().Format(time.DateTime)
	}
	if s.Running {
		text = "a pass is under way"
	}
	return text + fmt.Sprintf(", %s checked, %d damaged, %d of these mended", humanize.Bytes(s.Checked), s.Damaged, s.Mended)
}

// networkText says how the node stands in the network.
func networkText(st control.Status) string {
	if !st.Online {
		return "offline"
	}
	n := st.Network
	return fmt.Sprintf("%d peers (%d dialled us), %d in the DHT's table, %d keys announced", n.Peers, n.Inbound, n.Routing, n.Announced)
}

// fetchedText says what came from where.
func fetchedText(f control.FetchStatus) string {
	var parts []string
	for _, from := range slices.Sorted(maps.Keys(f.Files)) {
		parts = append(parts, fmt.Sprintf("%d files from %s (%s)", f.Files[from], from, humanize.Bytes(f.Bytes[from])))
	}
	if f.Failed > 0 {
		parts = append(parts, fmt.Sprintf("%d failed", f.Failed))
	}
	if parts == nil {
		return "nothing yet"
	}
	return strings.Join(parts, ", ")
}

// jobsText counts jobs by state.
func jobsText(jobs map[string]int64) string {
	var parts []string
	for _, state := range slices.Sorted(maps.Keys(jobs)) {
		parts = append(parts, fmt.Sprintf("%d %s", jobs[state], state))
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// activeText describes one content on its way.
func activeText(f control.ActiveFetch) string {
	from := f.From
	if from == "" {
		from = "?"
	}
	if f.Total > 0 {
		return fmt.Sprintf("%3d %%  %s of %s  from %-6s  %s", 100*f.Done/f.Total, humanize.Bytes(f.Done), humanize.Bytes(f.Total), from, humanize.Escape(f.Source))
	}
	return fmt.Sprintf("   ?   %s  from %-6s  %s", humanize.Bytes(f.Done), from, humanize.Escape(f.Source))
}
