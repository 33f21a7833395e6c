package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/testground/cases"
)

// TestChoose holds what is played, and that what can't be is refused by name.
func TestChoose(t *testing.T) {
	var all []string
	for _, c := range cases.List(cases.Real()) {
		all = append(all, c.Name)
	}
	for _, tc := range []struct {
		name  string
		names []string
		stock bool
		want  []string
		err   string // in the error; "": none
	}{
		{"all", nil, false, all, ""},
		{"some", []string{"churn", "one-origin", "baseline-bitswap"}, false, []string{"churn", "one-origin", "baseline-bitswap"}, ""},
		{"beside stock bitswap", []string{"flash-crowd", "churn"}, true, []string{"flash-crowd", "baseline-flash-crowd", "churn"}, ""},
		{"the DHT", []string{"dht"}, false, nil, "in virtual time only"},
		{"unknown", []string{"flash"}, false, nil, `no case "flash": flash-crowd, `},
	} {
		t.Run(tc.name, func(t *testing.T) {
			chosen, err := choose(tc.names, tc.stock)
			if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Fatalf("error %v, want %q", err, tc.err)
			}
			var got []string
			for _, c := range chosen {
				got = append(got, c.Name)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("it plays %q, want %q", got, tc.want)
			}
		})
	}
}
