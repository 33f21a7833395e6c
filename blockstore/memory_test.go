package blockstore_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/blockstore/storetest"
)

// TestMemoryLimit holds that a full memory store refuses like a full disk.
func TestMemoryLimit(t *testing.T) {
	ctx := t.Context()
	m := blockstore.NewMemory()
	m.SetLimit(10)
	if _, err := m.NewFile(ctx, 11); !errors.Is(err, blockstore.ErrNoSpace) {
		t.Errorf("NewFile(11) = %v, want ErrNoSpace", err)
	}
	if err := m.Put(ctx, blocks.NewBlock(make([]byte, 11))); !errors.Is(err, blockstore.ErrNoSpace) {
		t.Errorf("Put of 11 bytes = %v, want ErrNoSpace", err)
	}
	small := blocks.NewBlock(make([]byte, 10))
	if err := m.Put(ctx, small); err != nil {
		t.Errorf("Put of 10 bytes: %v", err)
	}
	for range 2 { // what is deleted makes room
		if err := m.DeleteBlock(ctx, small.Cid()); err != nil {
			t.Fatal(err)
		}
		if err := m.Put(ctx, small); err != nil {
			t.Errorf("Put after DeleteBlock: %v", err)
		}
	}
	if err := m.DeleteBlock(ctx, small.Cid()); err != nil {
		t.Fatal(err)
	}
	w, err := m.NewFile(ctx, -1)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 11)
	sum := sha256.Sum256(data)
	root, err := cid.V1Builder{Codec: cid.Raw, MhType: 0x12}.Sum(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteLeaf(0, root, data); err != nil {
		t.Fatal(err)
	}
	f := blockstore.File{Root: root, Size: 11, SHA256: sum}
	if err := w.Commit(ctx, f, nil); !errors.Is(err, blockstore.ErrNoSpace) {
		t.Errorf("Commit of 11 bytes = %v, want ErrNoSpace", err)
	}
	m.SetLimit(0)
	if err := w.Commit(ctx, f, nil); err != nil {
		t.Errorf("Commit without a limit: %v", err)
	}
}

// TestMemoryScribbles holds that bytes kept after View are visibly wrong.
func TestMemoryScribbles(t *testing.T) {
	m := blockstore.NewMemory()
	blk := blocks.NewBlock([]byte("kept"))
	if err := m.Put(t.Context(), blk); err != nil {
		t.Fatal(err)
	}
	var kept []byte
	if err := m.View(t.Context(), blk.Cid(), func(b []byte) error { kept = b; return nil }); err != nil {
		t.Fatal(err)
	}
	if string(kept) == "kept" {
		t.Error("View left its bytes intact: a caller that keeps them would go unnoticed")
	}
}

// TestMemoryCancelled holds that a dead context is noticed before anything happens.
func TestMemoryCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m := blockstore.NewMemory()
	blk := blocks.NewBlock([]byte("late"))
	if err := m.Put(ctx, blk); !errors.Is(err, context.Canceled) {
		t.Errorf("Put = %v, want context.Canceled", err)
	}
	if _, err := m.Get(t.Context(), blk.Cid()); !ipld.IsNotFound(err) {
		t.Errorf("Get = %v, want not found", err)
	}
}

func TestMemory(t *testing.T) {
	storetest.Run(t, func(*testing.T) blockstore.Store { return blockstore.NewMemory() })
}
