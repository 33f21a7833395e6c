package ipfs

import (
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/dag"
)

// TestRecordKeeps holds that a fetch goes on after an interruption where the store can:
// what wraps the store must not hide that.
func TestRecordKeeps(t *testing.T) {
	disk, err := blockstore.Open(t.Context(), t.TempDir(), blockstore.Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := disk.Close(); err != nil {
			t.Error(err)
		}
	})
	memory := blockstore.NewMemory()
	defer memory.Close()
	for name, dst := range map[string]blockstore.Store{"disk": disk, "scope": disk.Scope(""), "memory": memory} {
		_, want := dst.(dag.KeepStore)
		if _, got := record(dst, &fetcher{}).(dag.KeepStore); got != want || !want && name != "memory" {
			t.Errorf("%s: keeps beginnings: %v, the store itself: %v", name, got, want)
		}
	}
}
