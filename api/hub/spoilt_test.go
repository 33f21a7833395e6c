package hub

import (
	"strconv"
	"testing"
	"time"
)

// TestSpoilt holds that files are forgotten in time, and that there is a bound.
func TestSpoilt(t *testing.T) {
	var s spoilt
	now := time.Unix(1_800_000_000, 0)
	if s.has("a", now) {
		t.Error("an empty list has a")
	}
	s.add("a", now)
	if !s.has("a", now) || !s.has("a", now.Add(spoiltLife)) || s.has("a", now.Add(spoiltLife+1)) || s.has("b", now) {
		t.Error("a is not kept for as long as it should be")
	}
	for i := range 2 * maxSpoilt {
		s.add(strconv.Itoa(i), now)
	}
	if len(s.at) > maxSpoilt || !s.has(strconv.Itoa(2*maxSpoilt-1), now) {
		t.Errorf("%d files are kept", len(s.at))
	}
	s.add("b", now.Add(2*spoiltLife))
	if len(s.at) != 1 {
		t.Errorf("%d files are kept, want b alone", len(s.at))
	}
}
