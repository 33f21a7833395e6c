package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report is the whole run, as it is written with -json.
type report struct {
	When    time.Time `json:"when"`
	System  string    `json:"system"`
	Size    int64     `json:"size_bytes"`
	Rounds  int       `json:"rounds"`
	Missing []string  `json:"missing,omitempty"` // rivals that are not installed
	Rows    []outcome `json:"rows"`
}

// system says what the figures were measured on, without naming the machine.
func system() string {
	model := ""
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value) + ", "
				break
			}
		}
	}
	return fmt.Sprintf("%d × %s%s/%s, %s", runtime.NumCPU(), model, runtime.GOOS, runtime.GOARCH, runtime.Version())
}

// markdown writes a row as a table of its contenders and a list of its checks.
func markdown(w io.Writer, o outcome) error {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s: %s\n\n| | wall s, median (min–max) | CPU s | peak RssAnon MiB |\n|---|---|---|---|\n", o.Name, o.Title)
	for _, name := range o.Order {
		var walls, cpus, anons []float64
		for _, s := range o.Samples[name] {
			walls, cpus, anons = append(walls, s.Wall), append(cpus, s.CPU), append(anons, mib(s.Anon))
		}
		fmt.Fprintf(&b, "| %s | %.2f (%.2f–%.2f) | %.2f | %.0f |\n",
			name, median(walls), slices.Min(walls), slices.Max(walls), median(cpus), slices.Max(anons))
	}
	b.WriteString("\n")
	for _, c := range o.Checks {
		mark, bound := "ok  ", "at most"
		if !c.holds() {
			mark = "MISS"
		}
		if c.Least {
			bound = "at least"
		}
		fmt.Fprintf(&b, "- %s %s: %.4g %s (%s %.4g)\n", mark, c.What, c.Got, c.Unit, bound, c.Goal)
	}
	b.WriteString("\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// missed counts the checks that don't hold.
func (r report) missed() (missed, all int) {
	for _, o := range r.Rows {
		for _, c := range o.Checks {
			all++
			if !c.holds() {
				missed++
			}
		}
	}
	return missed, all
}

// save writes the report as JSON.
func (r report) save(name string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(text, '\n'), 0o600)
}
