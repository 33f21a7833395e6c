package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		in   []float64
		want float64
	}{
		{nil, 0},
		{[]float64{3}, 3},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 2, 3}, 2.5},
	} {
		if got := median(tc.in); got != tc.want {
			t.Errorf("median(%v) = %v, want %v", tc.in, got, tc.want)
		}
	}
}

func TestQuantile(t *testing.T) {
	for _, tc := range []struct {
		in      []float64
		q, want float64
	}{{nil, 0.5, 0}, {[]float64{2, 1}, 1, 2}, {[]float64{5, 1, 4, 2, 3}, 0.8, 5}, {[]float64{5, 1, 4, 2, 3}, 0, 1}} {
		if got := quantile(tc.in, tc.q); got != tc.want {
			t.Errorf("quantile(%v, %v) = %v, want %v", tc.in, tc.q, got, tc.want)
		}
	}
}

func TestMedianRatioIsPerRound(t *testing.T) {
	a := []sample{{Wall: 10}, {Wall: 1}, {Wall: 1}}
	b := []sample{{Wall: 1}, {Wall: 10}, {Wall: 2}}
	if got := medianRatio(a, b, wall); got != 0.5 { // of 10, 0.1, 0.5
		t.Errorf("got %v", got)
	}
}

// TestMeasure runs rows of contenders whose figures are known: every one runs
// once a round in a directory of its own, and goals are held and missed.
func TestMeasure(t *testing.T) {
	scratch := t.TempDir()
	runs := map[string]int{}
	fixed := func(name string, s sample) contender {
		return contender{name, func(_ context.Context, dir string) (func(context.Context) (sample, error), func() error, error) {
			return func(context.Context) (sample, error) {
					runs[name]++
					return s, os.WriteFile(filepath.Join(dir, "f"), nil, 0o600)
				}, func() error {
					_, err := os.Stat(filepath.Join(dir, "f"))
					return err
				}, nil
		}}
	}
	out, err := measure(t.Context(), row{
		name: "r", title: "t", subject: fixed("us", sample{Wall: 2, CPU: 3, Anon: 64 << 20}),
		rivals: []contender{fixed("them", sample{Wall: 5, CPU: 5})},
		goals:  []goal{{rival: "them", speed: 2.5, cpu: 0.5}, {rival: "not installed", speed: 100}},
		anon:   32 << 20,
	}, 4, scratch)
	if err != nil {
		t.Fatal(err)
	}
	if runs["us"] != 4 || runs["them"] != 4 {
		t.Errorf("runs %v", runs)
	}
	var verdicts []bool
	for _, c := range out.Checks {
		verdicts = append(verdicts, c.holds())
	}
	if len(verdicts) != 3 || !verdicts[0] || verdicts[1] || verdicts[2] {
		t.Errorf("checks %+v", out.Checks)
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	var b strings.Builder
	if err := markdown(&b, out); err != nil || !strings.Contains(b.String(), "- ok   speed against them: 2.5 ×") ||
		!strings.Contains(b.String(), "- MISS peak RssAnon: 64 MiB (at most 32)") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

func TestMeasureReportsFailures(t *testing.T) {
	broken := contender{"broken", func(context.Context, string) (func(context.Context) (sample, error), func() error, error) {
		return func(context.Context) (sample, error) { return sample{}, errors.New("did not work") }, nil, nil
	}}
	if _, err := measure(t.Context(), row{name: "r", subject: broken}, 1, t.TempDir()); err == nil || !strings.Contains(err.Error(), "r, broken: did not work") {
		t.Errorf("got %v", err)
	}
}
