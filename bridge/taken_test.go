package bridge_test

import (
	"context"
	"testing"

	"github.com/hypha-node/hypha-node/bridge"
)

// A replay has what was in somebody's hands when it was asked for, if it turns
// out to have been received: the connection of those hands may be a lost one.
func TestReplayOfWhatIsHeld(t *testing.T) {
	for _, taken := range []bool{true, false} {
		all := parties(t, 2, nil)
		a, b := all[0], all[1]
		for _, content := range []string{"0", "1", "2"} {
			a.send("f", content, "peer-b")
		}
		b.take(2, bridge.ReceiveRequest{})
		since, ready, got := int64(0), make(chan struct{}), make(chan []bridge.Received, 1)
		for range b.job.Receive(t.Context(), bridge.ReceiveRequest{Taken: func() bool { return taken }}) {
			go func() {
				var items []bridge.Received
				for item, err := range b.job.Receive(t.Context(), bridge.ReceiveRequest{Since: &since, Ready: func() { close(ready) }}) {
					if err != nil {
						t.Error(err)
					}
					if items = append(items, item); len(items) == 2 {
						break
					}
				}
				got <- items
			}()
			<-ready // while item 2 is in our hands
			break
		}
		items := <-got
		if len(items) != 2 || items[0].Sequence != 1 || items[1].Sequence != 2 || b.read(items[1].Path) != "2" {
			t.Errorf("taken %v: %+v", taken, items)
		}
	}
}

// Who has passed an item on has received it, whatever becomes of ctx; who has
// not gets it again.
func TestTaken(t *testing.T) {
	all := parties(t, 2, nil)
	a, b := all[0], all[1]
	a.send("f", "x", "peer-b")
	for _, taken := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		for item, err := range b.job.Receive(ctx, bridge.ReceiveRequest{Taken: func() bool { return taken }}) {
			if err != nil || item.Sequence != 0 {
				t.Errorf("%+v, %v", item, err)
			}
			cancel()
		}
		cancel()
	}
	if left := b.drain(); len(left) > 0 {
		t.Errorf("given again: %+v", left)
	}
}
