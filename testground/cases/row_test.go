package cases

import (
	"strings"
	"testing"
)

// TestRow holds that each limit fails a case by itself.
func TestRow(t *testing.T) {
	c := Case{Name: "x", Seeds: 1, Leeches: 1, Passive: 1, Size: 1 << 20, Link: home(), Goal: 1.2, Double: 0.1, SeedSends: 1.5, Bystander: 0.1, Again: 0.2, OriginSends: 1.1, Talk: 0.01}
	least, err := c.Least()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name                           string
		seconds                        float64
		sent, content, double, passive int64
		origin, talk                   int64
		want                           string // in what was missed; "": it passes
	}{
		{"all well", least, c.Size, c.Size, 0, 0, 0, 0, ""},
		{"slow", 1.3 * least, c.Size, c.Size, 0, 0, 0, 0, "least time"},
		{"too fast to be true", least / 2, c.Size, c.Size, 0, 0, 0, 0, "not all was transferred"},
		{"twice", least, c.Size, c.Size, c.Size / 2, 0, 0, 0, "came twice"},
		{"the seed sends two copies", least, 2 * c.Size, c.Size, 0, 0, 0, 0, "seeds sent"},
		{"the origin sends two copies", least, c.Size, c.Size, 0, 0, 2 * c.Size, 0, "origin sent"},
		{"a bystander gets it", least, c.Size, c.Size, 0, c.Size, 0, 0, "bystander"},
		{"it talks too much", least, c.Size, c.Size, 0, 0, 0, c.Size / 50, "bytes of control"},
		{"it comes again", least, c.Size, c.Size + c.Size/3, 0, 0, 0, 0, "after a restart"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			row, err := c.row([]Report{
				{Role: "seed", Traffic: Traffic{Sent: tc.sent}, Origin: tc.origin},
				{Role: "leech", Again: true, Seconds: tc.seconds, Traffic: Traffic{Received: tc.content, Content: tc.content, Double: tc.double, Control: tc.talk}},
				{Role: "bad", Traffic: Traffic{Sent: 9 * c.Size, Received: 9 * c.Size}},
				{Role: "passive", Traffic: Traffic{Received: tc.passive}},
			})
			if err != nil {
				t.Fatal(err)
			}
			if row.Pass != (tc.want == "") || !strings.Contains(row.Why, tc.want) {
				t.Errorf("pass %v, %q, want %q", row.Pass, row.Why, tc.want)
			}
		})
	}
}

// TestFasterThanAnotherRun holds that a bound which was measured may be beaten, and one
// that is arithmetic not.
func TestFasterThanAnotherRun(t *testing.T) {
	for _, c := range []Case{
		{Raw: true}, {Bad: []Fault{Mute}}, {},
	} {
		c.Name, c.Seeds, c.Leeches, c.Size, c.Link, c.Bound, c.Goal = "x", 1, 1, 1<<20, home(), 10, 1.2
		least, err := c.Least()
		if err != nil {
			t.Fatal(err)
		}
		row, err := c.row([]Report{{Role: "seed"}, {Role: "leech", Seconds: 0.9 * least}})
		if err != nil {
			t.Fatal(err)
		}
		if measured := c.Raw || len(c.Bad) > 0; row.Pass != measured {
			t.Errorf("pass %v with a bound that was measured: %v", row.Pass, measured)
		}
	}
}

// TestParts holds who does what in a case with faults and restarts.
func TestParts(t *testing.T) {
	c := Case{Seeds: 2, Leeches: 8, Passive: 1, Bad: []Fault{Slow, Mute}, Churn: 0.25}
	var roles []string
	for i := range c.Instances() {
		role := c.role(i)
		if c.restarts(i) {
			role += " again"
		}
		if c.Fault(i) == Mute {
			role += " mute"
		}
		roles = append(roles, role)
	}
	want := "seed seed leech again leech again leech leech leech leech leech leech passive bad bad mute"
	if got := strings.Join(roles, " "); got != want {
		t.Errorf("instances are\n%s, want\n%s", got, want)
	}
	if clean := c.Clean(); clean.Instances() != 11 || clean.Fault(10) != Honest || !clean.Unshaped {
		t.Errorf("without faults it is %+v", clean)
	}
}
