package bound

import (
	"errors"
	"math"
	"testing"
)

func TestLeast(t *testing.T) {
	const mib = 1 << 20
	for _, tc := range []struct {
		name  string
		crowd Crowd
		want  float64 // seconds
	}{
		{"one to one, the seed is the limit", Equal(mib, 1, 1, 20*Mbit, 100*Mbit), 8 * mib / 20e6},
		{"one to eight, the seed is still the limit", Equal(mib, 1, 8, 20*Mbit, 100*Mbit), 8 * mib / 20e6},
		{"many seeds, the leech's link is the limit", Equal(mib, 8, 1, 20*Mbit, 100*Mbit), 8 * mib / 100e6},
		{"two seeds and many leeches, all links are the limit", Equal(mib, 2, 8, 20*Mbit, 100*Mbit), 8 * 8 * mib / 200e6},
		{"leeches that send nothing", Crowd{Size: mib, Leeches: 4, SeedUp: 20 * Mbit, Down: 100 * Mbit}, 4 * 8 * mib / 20e6},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := tc.crowd.Least()
			if err != nil || math.Abs(got-tc.want) > 1e-9 {
				t.Errorf("got %v s, %v, want %v s", got, err, tc.want)
			}
		})
	}
}

func TestLeastRefuses(t *testing.T) {
	good := Equal(1, 1, 1, Mbit, Mbit)
	for name, spoil := range map[string]func(*Crowd){
		"no bytes":         func(c *Crowd) { c.Size = 0 },
		"nobody wants it":  func(c *Crowd) { c.Leeches = 0 },
		"seeds don't send": func(c *Crowd) { c.SeedUp = 0 },
		"no rate":          func(c *Crowd) { c.Down = math.NaN() },
		"endless rate":     func(c *Crowd) { c.SeedUp = math.Inf(1) },
		"negative rate":    func(c *Crowd) { c.Up = -1 },
	} {
		c := good
		spoil(&c)
		if least, err := c.Least(); !errors.Is(err, ErrCrowd) {
			t.Errorf("%s: got %v s, %v, want ErrCrowd", name, least, err)
		}
	}
}

func TestAccept(t *testing.T) {
	for _, tc := range []struct {
		name                   string
		measured, least, limit float64
		ok                     bool
	}{
		{"at the bound", 10, 10, 1.25, true},
		{"at the limit", 12.5, 10, 1.25, true},
		{"over the limit", 12.6, 10, 1.25, false},
		{"faster than the links", 5, 10, 1.25, false},
		{"a burst's worth faster", 9.8, 10, 1.25, true},
		{"no time", 0, 10, 1.25, false},
		{"not a number", math.NaN(), 10, 1.25, false},
		{"no bound", 1, 0, 1.25, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := Accept(tc.measured, tc.least, tc.limit); (err == nil) != tc.ok || err != nil && !errors.Is(err, ErrMissed) {
				t.Errorf("got %v, want accepted: %v", err, tc.ok)
			}
		})
	}
}
