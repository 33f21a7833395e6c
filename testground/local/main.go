package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/hypha-node/hypha-node/testground/cases"
)

func main() {
	var o options
	flag.StringVar(&o.plan, "plan", "", "the plan's program")
	names := flag.String("case", "", "cases, separated by commas; empty: all")
	flag.IntVar(&o.instances, "n", 0, "instances of each case; 0: as the case has them")
	flag.StringVar(&o.out, "out", filepath.Join("testground", "out"), "directory for results")
	flag.BoolVar(&o.stock, "stock", false, "play stock bitswap beside each case that it can play")
	flag.Parse()
	if *names != "" {
		o.cases = strings.Split(*names, ",")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "local:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	plan      string
	cases     []string
	instances int
	stock     bool
	out       string
}

// run plays the cases one after the other.
func run(ctx context.Context, o options) error {
	chosen, err := choose(o.cases, o.stock)
	if err != nil {
		return err
	}
	if o.plan, err = filepath.Abs(o.plan); err != nil {
		return err
	}
	if _, err := os.Stat(o.plan); err != nil {
		return fmt.Errorf("%w (build it: go build -o bin/testground ./testground)", err)
	}
	if err := able(); err != nil {
		return err
	}
	var rows []cases.Row
	var failed []error
	for _, c := range chosen {
		if o.instances > 0 {
			if c, err = c.WithMachines(o.instances); err != nil {
				return err
			}
		}
		fmt.Fprintf(os.Stderr, "%s: %d instances, bound %s\n", c.Name, c.Machines(), describe(c))
		row, err := playCase(ctx, o, c)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", c.Name, err))
			row = cases.Row{Case: c.Name, Goal: c.Goal, Why: err.Error()}
		} else if err := row.Err(); err != nil {
			failed = append(failed, err)
		}
		rows = append(rows, row)
		if ctx.Err() != nil {
			break
		}
	}
	failed = append(failed, cases.Table(os.Stdout, rows))
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	failed = append(failed, cases.Save(filepath.Join(o.out, "local"), rows))
	return errors.Join(failed...)
}

// describe tells the bound of a case.
func describe(c cases.Case) string {
	if least, err := c.Least(); err == nil && least > 0 {
		return fmt.Sprintf("%.1f s", least)
	}
	if len(c.Bad) > 0 {
		return "the time without faults, which is taken first"
	}
	return "a bare stream"
}

// choose returns the cases with these names, all of cases.List without names, and
// behind each the baseline to compare it with if stock says so.
func choose(names []string, stock bool) (chosen []cases.Case, err error) {
	all := cases.Processes(cases.Real())
	if len(names) == 0 {
		chosen = cases.List(cases.Real())
	}
	for _, name := range names {
		i := slices.IndexFunc(all, func(c cases.Case) bool { return c.Name == name })
		if i < 0 {
			return nil, refuse(name, all)
		}
		chosen = append(chosen, all[i])
	}
	if !stock {
		return chosen, nil
	}
	var both []cases.Case
	for _, c := range chosen {
		both = append(both, c)
		if c.Comparable() && !c.Stock {
			both = append(both, c.Baseline())
		}
	}
	return both, nil
}

// refuse says why a case can't be played here.
func refuse(name string, all []cases.Case) error {
	for _, d := range cases.Directories() {
		if d.Name == name {
			return fmt.Errorf("the case %q has %d nodes and looks at when each of them hears of a record: it is played in virtual time only (make sim CASE=TestCases/%s)", name, d.Peers, name)
		}
	}
	var known []string
	for _, c := range all {
		known = append(known, c.Name)
	}
	return fmt.Errorf("there is no case %q: %s", name, strings.Join(known, ", "))
}
