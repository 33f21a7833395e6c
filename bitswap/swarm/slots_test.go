package swarm

import "testing"

// TestSlots holds that slots are given out in the order in which they are asked for,
// and that who does not wait any more, or ends twice, costs nobody his turn.
func TestSlots(t *testing.T) {
	s := newSlots(2)
	if got := s.load(); got != 0 {
		t.Errorf("load without anybody is %v", got)
	}
	a, b, c, d, e := s.claim(), s.claim(), s.claim(), s.claim(), s.claim()
	holds := func(when string, want ...*turn) {
		t.Helper()
		for i, who := range []*turn{a, b, c, d, e} {
			granted := false
			for _, w := range want {
				granted = granted || w == who
			}
			if who.mine() != granted {
				t.Errorf("%s: turn %d is granted: %v", when, i, !granted)
			}
		}
	}
	holds("two slots", a, b)
	if got := s.load(); got != 1 {
		t.Errorf("load with five is %v", got)
	}
	d.end() // before its turn
	a.end()
	a.end()
	holds("one is given back", a, b, c)
	b.end()
	c.end()
	holds("all but the last have ended", a, b, c, e)
	if got := s.load(); got != 0.5 {
		t.Errorf("load with one of two is %v", got)
	}
	e.end()
	var nobody *turn
	nobody.end()
	if nobody.mine() || nobody.may() != nil {
		t.Error("nobody has a turn")
	}
	if got := s.load(); got != 0 {
		t.Errorf("load when all have ended is %v", got)
	}
}
