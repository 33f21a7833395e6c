package cases

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Save writes rows to name.json and a plot of each crowd's progress over time to
// name-CASE.svg.
func Save(name string, rows []Row) error {
	short := slices.Clone(rows)
	for i := range short {
		short[i].Reports = nil
	}
	text, err := json.MarshalIndent(short, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(name+".json", append(text, '\n'), 0o644); err != nil {
		return err
	}
	for _, r := range rows {
		if plot := Plot(r); plot != "" {
			if err := os.WriteFile(name+"-"+r.Case+".svg", []byte(plot), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// Plot returns an SVG of how much of the content each leech had received at each
// time since the start of its wave, beside the bound; "" when nobody's progress
// is known.
func Plot(r Row) string {
	const width, height, margin = 640, 360, 48
	var longest float64
	for _, one := range r.Reports {
		longest = max(longest, one.Seconds)
	}
	if longest == 0 {
		return ""
	}
	x := func(seconds float64) float64 { return margin + seconds/longest*(width-2*margin) }
	y := func(share float64) float64 { return height - margin - share*(height-2*margin) }
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><path d="M%.0f %.0fV%.0fH%.0f" fill="none" stroke="black"/>`+"\n", x(0), y(1), y(0), x(longest))
	fmt.Fprintf(&b, `<text x="%d" y="20">%s: %.2f s, %.2f times the least time</text>`+"\n", margin, r.Case, r.Measured, r.Ratio)
	fmt.Fprintf(&b, `<text x="%.0f" y="%d" text-anchor="end">%.1f s</text><text x="4" y="%.0f">100 %%</text>`+"\n", x(longest), height-margin+16, longest, y(1)+4)
	if r.Bound < longest {
		fmt.Fprintf(&b, `<path d="M%.1f %.1fV%.1f" stroke="red" stroke-dasharray="4"/>`+"\n", x(r.Bound), y(1), y(0))
	}
	for _, one := range r.Reports {
		if len(one.Progress) == 0 {
			continue
		}
		fmt.Fprintf(&b, `<path d="M%.1f %.1f`, x(0), y(0))
		for i, share := range one.Progress {
			fmt.Fprintf(&b, "L%.1f %.1f", x(min(float64(i+1)*one.Step, one.Seconds)), y(share))
		}
		fmt.Fprintf(&b, `L%.1f %.1f" fill="none" stroke="steelblue" stroke-opacity=".6"/>`+"\n", x(one.Seconds), y(1))
	}
	b.WriteString("</svg>\n")
	return b.String()
}
