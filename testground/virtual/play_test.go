package virtual

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/hypha-node/hypha-node/testground/cases"
)

func TestPlay(t *testing.T) {
	c := cases.Case{
		Name: "one to one", Seeds: 1, Leeches: 1, Size: 4 << 20,
		Link: cases.Link{Up: 20, Down: 100, RTT: 20 * time.Millisecond}, Goal: 1.5,
	}
	synctest.Test(t, func(t *testing.T) {
		row, err := Play(t.Context(), c, t.TempDir(), nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%+v", row)
		if err := row.Err(); err != nil {
			t.Error(err)
		}
	})
}
