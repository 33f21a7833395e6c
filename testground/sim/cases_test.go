package sim

import (
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/hypha-node/hypha-node/testground/cases"
	"github.com/hypha-node/hypha-node/testground/virtual"
)

var (
	every = flag.Bool("all", false, "play all cases, as make sim does, not only the two smallest")
	full  = flag.Bool("full", false, "cases of the size of a night, and all baselines")
	stock = flag.Bool("stock", false, "play stock bitswap beside each case of a crowd")
	trace = flag.String("trace", "", "file for what nodes ask of each other, as JSON lines; empty: none")
	out   = flag.String("out", "", "directory for sim.json and the plots; empty: none")
)

// TestCases plays cases in virtual time. A case fails when it misses its limit.
func TestCases(t *testing.T) {
	scale := cases.Usual()
	if *full {
		scale = cases.Full()
	}
	var rows []cases.Row
	for _, c := range cases.List(scale) {
		if small := c.Name == "crowd-of-one" || c.Name == "lossy"; !small && !*every && !*full {
			continue
		}
		all := []cases.Case{c}
		if (*full || *stock) && !c.Raw {
			all = append(all, c.Baseline())
		}
		for _, c := range all {
			if row := play(t, c); row.Case != "" { // else it failed, or was not asked for
				rows = append(rows, row)
			}
		}
	}
	var table strings.Builder
	if err := cases.Table(&table, rows); err != nil {
		t.Error(err)
	}
	t.Log("\n" + table.String())
	if *out == "" {
		return
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := cases.Save(filepath.Join(*out, "sim"), rows); err != nil {
		t.Error(err)
	}
}

// play plays one case in a bubble of its own.
func play(t *testing.T, c cases.Case) (row cases.Row) {
	t.Run(c.Name, func(t *testing.T) {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			var err error
			if row, err = virtual.Play(t.Context(), c, dir, tracing(t)); err != nil {
				t.Fatal(err)
			}
			if err := row.Err(); err != nil {
				t.Error(err)
			}
		})
	})
	return row
}

// tracing returns where nodes tell what they do, nil without -trace.
func tracing(t *testing.T) *slog.Logger {
	if *trace == "" {
		return nil
	}
	f, err := os.OpenFile(*trace, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return slog.New(slog.NewJSONHandler(f, &slog.HandlerOptions{Level: slog.LevelDebug})).With(slog.String("case", t.Name()))
}
