package cases

import (
	"strings"
	"testing"
)

// TestRow holds that each limit fails a case by itself.
func TestRow(t *testing.T) {
	c := Case{Name: "x", Seeds: 1, Leeches: 1, Passive: 1, Size: 1 << 20, Link: home(), Goal: 1.2, Double: 0.1, SeedSends: 1.5, Bystander: 0.1}
	least, err := c.Least()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name                           string
		seconds                        float64
		sent, content, double, passive int64
		want                           string // in what was missed; "": it passes
	}{
		{"all well", least, c.Size, c.Size, 0, 0, ""},
		{"slow", 1.3 * least, c.Size, c.Size, 0, 0, "least time"},
		{"too fast to be true", least / 2, c.Size, c.Size, 0, 0, "not all was transferred"},
		{"twice", least, c.Size, c.Size, c.Size / 2, 0, "came twice"},
		{"the seed sends two copies", least, 2 * c.Size, c.Size, 0, 0, "seeds sent"},
		{"a bystander gets it", least, c.Size, c.Size, 0, c.Size, "bystander"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			row, err := c.row([]Report{
				{Role: "seed", Traffic: Traffic{Sent: tc.sent}},
				{Role: "leech", Seconds: tc.seconds, Traffic: Traffic{Received: tc.content, Content: tc.content, Double: tc.double}},
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
