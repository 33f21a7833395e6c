package bitswap

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/routing"
)

// TestHurry holds when a lookup is ended: not before many have answered, and when
// those who answer have stopped for as long as the slowest of them took.
func TestHurry(t *testing.T) {
	for _, tc := range []struct {
		name    string
		answers int
		took    time.Duration // each answer, one after the other
		want    time.Duration // from the last one on; 0: it is not ended
	}{
		{"a large network", hurryAfter, 80 * time.Millisecond, 80 * time.Millisecond},
		{"a fast one", 2 * hurryAfter, time.Millisecond, hurryLeast},
		{"a small one", hurryAfter - 1, 80 * time.Millisecond, 0},
		{"nobody", 0, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				events, ended := make(chan *routing.QueryEvent), make(chan time.Time, 1)
				done := make(chan struct{})
				go func() {
					defer close(done)
					hurry(events, func() { ended <- time.Now() })
				}()
				for i := range tc.answers {
					p := peer.ID(fmt.Sprint(i))
					events <- &routing.QueryEvent{Type: routing.SendingQuery, ID: p}
					<-time.After(tc.took)
					events <- &routing.QueryEvent{Type: routing.PeerResponse, ID: p}
				}
				last := time.Now()
				events <- &routing.QueryEvent{Type: routing.SendingQuery, ID: "dead"}
				<-time.After(time.Minute)
				close(events)
				<-done
				select {
				case at := <-ended:
					if got := at.Sub(last); got != tc.want {
						t.Errorf("it was ended after %v, want %v", got, tc.want)
					}
				default:
					if tc.want > 0 {
						t.Error("it was not ended")
					}
				}
			})
		})
	}
}
