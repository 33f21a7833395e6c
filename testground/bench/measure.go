package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// sample is one measured run.
type sample struct {
	Wall float64 `json:"wall_s"`
	CPU  float64 `json:"cpu_s"`
	Anon int64   `json:"anon_bytes"` // largest RssAnon of any process that worked for it
}

// ofResult is the sample of a program that ran to its end.
func ofResult(r rig.Result) sample {
	return sample{Wall: r.Wall.Seconds(), CPU: r.CPU.Seconds(), Anon: r.Anon}
}

// contender is one way to do a row's work. prepare gives the run, which is
// measured, and cleanup, which is not; both get a fresh directory.
type contender struct {
	name    string
	prepare func(ctx context.Context, dir string) (run func(ctx context.Context) (sample, error), cleanup func() error, err error)
}

// goal holds the subject to a rival: how many times faster at least, at which
// part of the rival's CPU time at most; 0 for no goal.
type goal struct {
	rival string
	speed float64
	cpu   float64
}

// row is one line of work.
type row struct {
	name, title string
	subject     contender
	rivals      []contender
	goals       []goal
	anon        int64 // RssAnon at most, bytes; 0 for no goal
	touch       int64 // bytes of memory that are used before each run; 0: none
	// after is asked once at the end for what else the row has to hold.
	after func(ctx context.Context) ([]check, error)
}

// check is one thing that is held to a number.
type check struct {
	What  string  `json:"what"`
	Got   float64 `json:"got"`
	Goal  float64 `json:"goal"`
	Least bool    `json:"at_least"` // else at most
	Unit  string  `json:"unit"`
}

// holds tells whether the goal is reached.
func (c check) holds() bool { return c.Least && c.Got >= c.Goal || !c.Least && c.Got <= c.Goal }

// outcome is a measured row: samples by contender, in the order of the rounds.
type outcome struct {
	Name    string              `json:"name"`
	Title   string              `json:"title"`
	Order   []string            `json:"contenders"` // the subject first
	Samples map[string][]sample `json:"samples"`
	Checks  []check             `json:"checks"`
}

// measure runs all rounds of a row.
func measure(ctx context.Context, r row, rounds int, scratch string) (outcome, error) {
	all := append([]contender{r.subject}, r.rivals...)
	out := outcome{Name: r.name, Title: r.title, Samples: map[string][]sample{}}
	for _, c := range all {
		out.Order = append(out.Order, c.name)
	}
	for round := range rounds {
		for _, i := range rand.Perm(len(all)) {
			s, err := once(ctx, all[i], r.touch, filepath.Join(scratch, fmt.Sprintf("%s-%d-%d", r.name, round, i)))
			if err != nil {
				return out, fmt.Errorf("%s, %s: %w", r.name, all[i].name, err)
			}
			out.Samples[all[i].name] = append(out.Samples[all[i].name], s)
		}
	}
	out.Checks = r.checks(out)
	if r.after != nil {
		more, err := r.after(ctx)
		if err != nil {
			return out, fmt.Errorf("%s: %w", r.name, err)
		}
		out.Checks = append(out.Checks, more...)
	}
	return out, nil
}

// once prepares, flushes, touches memory, runs and cleans up.
func once(ctx context.Context, c contender, touch int64, dir string) (s sample, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	run, cleanup, err := c.prepare(ctx, dir)
	if cleanup != nil {
		defer func() { err = errors.Join(err, cleanup()) }()
	}
	if err != nil {
		return s, err
	}
	if _, err := (rig.Program{Path: "sync", Args: []string{"-f", dir}}).Run(ctx); err != nil {
		return s, err
	}
	if err := touchMemory(touch); err != nil {
		return s, err
	}
	return run(ctx)
}

// touchMemory uses n bytes of memory and gives them back. A virtual machine may
// have returned free memory to its host, and whoever is first to use it again
// pays for that: up to 3 s a GiB were seen, on one run and not on the next.
func touchMemory(n int64) error {
	if n <= 0 {
		return nil
	}
	m, err := syscall.Mmap(-1, 0, int(n), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("touch memory: %w", err)
	}
	for i := 0; i < len(m); i += 4 << 10 {
		m[i] = 1
	}
	return syscall.Munmap(m)
}

// checks holds the samples to the row's goals.
func (r row) checks(o outcome) []check {
	var checks []check
	mine := o.Samples[r.subject.name]
	for _, g := range r.goals {
		theirs, ok := o.Samples[g.rival]
		if !ok {
			continue // not installed
		}
		if g.speed > 0 {
			checks = append(checks, check{
				What: "speed against " + g.rival, Got: medianRatio(theirs, mine, wall), Goal: g.speed, Least: true, Unit: "×",
			})
		}
		if g.cpu > 0 {
			checks = append(checks, check{What: "CPU time against " + g.rival, Got: medianRatio(mine, theirs, cpu), Goal: g.cpu, Unit: "×"})
		}
	}
	if r.anon > 0 {
		var most int64
		for _, s := range mine {
			most = max(most, s.Anon)
		}
		checks = append(checks, check{What: "peak RssAnon", Got: mib(most), Goal: mib(r.anon), Unit: "MiB"})
	}
	return checks
}

func wall(s sample) float64 { return s.Wall }
func cpu(s sample) float64  { return s.CPU }
func mib(n int64) float64   { return float64(n) / (1 << 20) }

// medianRatio is the median over the rounds of a's value divided by b's.
func medianRatio(a, b []sample, of func(sample) float64) float64 {
	ratios := make([]float64, min(len(a), len(b)))
	for i := range ratios {
		ratios[i] = of(a[i]) / max(of(b[i]), 1e-9)
	}
	return median(ratios)
}

// median of a list that it may reorder; 0 for an empty one.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// quantile returns the value that a part q of the list, which it reorders, does
// not exceed; 0 for an empty list.
func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return v[min(len(v)-1, int(q*float64(len(v))))]
}

// working measures what a function takes in wall time, and in CPU time of the
// processes with those ids, which go on afterwards.
func working(f func() error, pids ...int) (s sample, err error) {
	var before time.Duration
	var peaks []func() int64
	for _, pid := range pids {
		u, err := rig.UsageOf(pid)
		if err != nil {
			return s, err
		}
		before += u.CPU
		peaks = append(peaks, rig.WatchAnon(pid))
	}
	begin := time.Now()
	err = f()
	s.Wall = time.Since(begin).Seconds()
	for i, pid := range pids {
		s.Anon = max(s.Anon, peaks[i]())
		u, uerr := rig.UsageOf(pid)
		if uerr != nil {
			return s, errors.Join(err, uerr)
		}
		s.CPU += u.CPU.Seconds()
	}
	s.CPU -= before.Seconds()
	return s, err
}
