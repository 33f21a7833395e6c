package crew

import "testing"

// TestBefore holds that who has claimed less comes first, that those who have claimed the
// same go round, and that nobody waits for who can't claim.
func TestBefore(t *testing.T) {
	a, b, c := claimer{id: "a"}, claimer{id: "b"}, claimer{id: "c"}
	with := func(m claimer, load, pending int) claimer {
		m.load, m.pending = load, pending
		return m
	}
	for _, tc := range []struct {
		name   string
		i      int
		own    claimer
		others []claimer
		want   int
	}{
		{"alone", 5, a, nil, 0},
		{"its turn", 1, b, []claimer{c, a}, 0},
		{"the turn of the one before", 0, b, []claimer{c, a}, 1},
		{"the turn goes round", 2, b, []claimer{c, a}, 2},
		{"others have claimed less", 1, with(b, 5, 5), []claimer{with(c, 3, 3), with(a, 1, 1)}, 2},
		{"others have claimed more", 0, with(c, 1, 1), []claimer{with(b, 3, 3), with(a, 4, 4)}, 0},
		{"about the same", 0, with(b, 2, 2), []claimer{with(c, 3, 3), with(a, 3, 3)}, 1},
		{"who can claim no more is passed by", 0, with(b, 10, 1), []claimer{with(a, 10, maxAhead+maxAsked)}, 0},
		{"who can claim no more but has claimed less is not", 0, with(b, 12, 1), []claimer{with(a, 11, maxAhead+maxAsked)}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := len(before(tc.i, tc.own, tc.others)); got != tc.want {
				t.Errorf("%d come before, want %d", got, tc.want)
			}
		})
	}
}
