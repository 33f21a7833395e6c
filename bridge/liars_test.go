package bridge_test

import (
	"testing"

	"github.com/hypha-node/hypha-node/connectors/peers"
)

// A sender that lied is a stranger to the job from then on; one whose transfer
// failed for another reason is not, nor is anybody else.
func TestLiarIsRefused(t *testing.T) {
	p := single(t, nil)
	drop := func(from, transfer string, why *peers.Refusal) error {
		d, err := p.job.Accept(t.Context(), from, p.offer(transfer, transfer, nil), noSecret)
		if err == nil {
			d.Drop(why)
		}
		return err
	}
	for i, why := range []*peers.Refusal{{Code: peers.CodeMismatch}, {Code: peers.CodeMismatch, Lied: true}} {
		if err := drop("peer-y", string(rune('a'+i)), why); err != nil {
			t.Fatalf("offer %d: %v", i, err)
		}
	}
	if err := drop("peer-y", "c", nil); code(err) != peers.CodeNotInJob {
		t.Errorf("a liar's next offer: %v", err)
	}
	if err := p.keep(p.offer("d", "x", nil)); err != nil {
		t.Errorf("another sender: %v", err)
	}
	if items := p.drain(); len(items) != 1 {
		t.Errorf("%d items", len(items))
	}
}
