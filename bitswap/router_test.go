package bitswap

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/routing"
)

// TestHurry holds when a lookup is ended: not before many have answered, or as many as
// it needs, and when those who answer have stopped for as long as the slowest of them
// took.
func TestHurry(t *testing.T) {
	for _, tc := range []struct {
		name    string
		answers int
		took    time.Duration // each answer, one after the other
		enough  bool          // the lookup needs no more
		want    time.Duration // from the last one on; 0: it is not ended
	}{
		{"a large network", hurryAfter, 80 * time.Millisecond, false, 80 * time.Millisecond},
		{"a fast one", 2 * hurryAfter, time.Millisecond, false, hurryLeast},
		{"a small one", hurryAfter - 1, 80 * time.Millisecond, false, 0},
		{"the closest have answered", 3, 80 * time.Millisecond, true, 80 * time.Millisecond},
		{"nobody", 0, 0, false, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				events, steps := make(chan *routing.QueryEvent), make(chan *dht.LookupEvent)
				ended, done := make(chan time.Time, 1), make(chan struct{})
				go func() {
					defer close(done)
					hurry(events, steps, func() { ended <- time.Now() })
				}()
				for i := range tc.answers {
					p := peer.ID(fmt.Sprint(i))
					events <- &routing.QueryEvent{Type: routing.SendingQuery, ID: p}
					<-time.After(tc.took)
					events <- &routing.QueryEvent{Type: routing.PeerResponse, ID: p}
				}
				last := time.Now()
				events <- &routing.QueryEvent{Type: routing.SendingQuery, ID: "dead"}
				steps <- &dht.LookupEvent{}
				if tc.enough {
					steps <- &dht.LookupEvent{Terminate: dht.NewLookupTerminateEvent(dht.LookupCompleted)}
				}
				<-time.After(time.Minute)
				close(steps)
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
