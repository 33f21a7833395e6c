package blockstore_test

import (
	"os"
	"testing"

	"github.com/ipfs/go-cid"
	"go.uber.org/goleak"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/blockstore/storetest"
	"github.com/hypha-node/hypha-node/internal/diskspace"
)

func TestMain(m *testing.M) {
	if blockstore.RunChild() {
		return
	}
	goleak.VerifyTestMain(m,
		// Badger leaves these behind when Open refuses a damaged database (v4.9.6).
		goleak.IgnoreAnyFunction("github.com/dgraph-io/badger/v4.(*DB).monitorCache"),
		goleak.IgnoreAnyFunction("github.com/dgraph-io/badger/v4.(*DB).updateSize"),
		goleak.IgnoreAnyFunction("github.com/dgraph-io/badger/v4.(*DB).flushMemtable"),
		goleak.IgnoreAnyFunction("github.com/dgraph-io/ristretto/v2/z.(*AllocatorPool).freeupAllocators"),
	)
}

// diskStore is a Disk with what the conformance suite needs to spoil it.
type diskStore struct {
	*blockstore.Disk
	*blockstore.Limited
	t   *testing.T
	dir string
}

func openDiskStore(t *testing.T, dir string) diskStore {
	t.Helper()
	d, l, err := blockstore.OpenLimited(t.Context(), dir, blockstore.Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	return diskStore{d, l, t, dir}
}

func (s diskStore) Close() error { return s.Disk.Close() }

func (s diskStore) Corrupt(c cid.Cid) bool {
	s.t.Helper()
	if err := s.Sync(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	name, off, n, err := s.Place(c)
	if err != nil || n == 0 {
		return false
	}
	if err := blockstore.FlipBit(name, off+n/2, 3); err != nil {
		s.t.Fatal(err)
	}
	return true
}

func (s diskStore) Reopen(t *testing.T) blockstore.Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return openDiskStore(t, s.dir)
}

func TestDiskConforms(t *testing.T) {
	storetest.Run(t, func(t *testing.T) blockstore.Store { return openDiskStore(t, memoryDir(t)) })
}

// memoryDir is a directory in memory where there is one with room: the suite does
// not cut the power, and syncs a disk thousands of times.
func memoryDir(t *testing.T) string {
	t.Helper()
	const shm = "/dev/shm"
	room, err := diskspace.Of(shm)
	if err != nil || room.Free < 2<<30 {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(shm, "hypha-test-") //nolint:usetesting // t.TempDir is on the disk
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
