package sim

import (
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
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

// TestCases plays cases in virtual time, as many at once as there are CPUs. A case
// fails when it misses its limit.
func TestCases(t *testing.T) {
	scale := cases.Usual()
	if *full {
		scale = cases.Full()
	}
	var chosen []cases.Case
	list := cases.List(scale)
	if *full {
		list = append(list, cases.Crowds()...)
	}
	for _, c := range list {
		if small := c.Name == "crowd-of-one" || c.Name == "lossy"; !small && !*every && !*full {
			continue
		}
		chosen = append(chosen, c)
		if (*full || *stock || *every && c.Name == "bystanders") && c.Comparable() {
			chosen = append(chosen, c.Baseline())
		}
	}
	directories := cases.Directories()
	if !*every && !*full {
		directories = nil
	}
	rows := make([]cases.Row, len(chosen))
	found := make([][]cases.Row, len(directories))
	t.Cleanup(func() { report(t, slices.Concat(rows, slices.Concat(found...))) }) // when all have ended
	for i, c := range chosen {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			play(t, c, &rows[i])
		})
	}
	for i, d := range directories {
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			lookUp(t, d, &found[i])
		})
	}
}

// lookUp plays a case of the DHT in a bubble. The rows are there even if they don't pass.
func lookUp(t *testing.T, d cases.Directory, rows *[]cases.Row) {
	synctest.Test(t, func(t *testing.T) {
		var err error
		if *rows, err = virtual.PlayDirectory(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		for _, row := range *rows {
			if err := row.Err(); err != nil {
				t.Error(err)
			}
		}
	})
}

// report prints and writes the rows of the cases that were played to their end.
func report(t *testing.T, rows []cases.Row) {
	rows = slices.DeleteFunc(rows, func(r cases.Row) bool { return r.Case == "" })
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

// play plays one case in a bubble. The row is there even if it does not pass.
func play(t *testing.T, c cases.Case, row *cases.Row) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var err error
		if *row, err = virtual.Play(t.Context(), c, dir, tracing(t)); err != nil {
			t.Fatal(err)
		}
		if err := row.Err(); err != nil {
			t.Error(err)
		}
	})
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
