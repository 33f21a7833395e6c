package blockstore

import (
	"context"
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore/internal/crashfs"
)

// TestFaults lets the k-th call to the disk fail, for every k that there is, and
// holds that the error says what it was, that nothing that was acknowledged is
// lost, neither now nor after opening the store again, and that a full disk
// leaves the store usable.
func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name    string
		errno   syscall.Errno
		ops     []crashfs.Op
		usable  bool // without opening it again
		lasting bool // all later calls fail as well
	}{
		{"no space", syscall.ENOSPC, []crashfs.Op{crashfs.OpWrite, crashfs.OpCreate, crashfs.OpAllocate}, true, false},
		{"no space any more", syscall.ENOSPC, []crashfs.Op{crashfs.OpWrite, crashfs.OpCreate, crashfs.OpAllocate}, true, true},
		{"bad write", syscall.EIO, []crashfs.Op{crashfs.OpWrite, crashfs.OpCreate, crashfs.OpRename, crashfs.OpTruncate}, true, false},
		{"bad read", syscall.EIO, []crashfs.Op{crashfs.OpRead, crashfs.OpOpen}, true, false},
		{"bad sync", syscall.EIO, []crashfs.Op{crashfs.OpSync, crashfs.OpSyncDir}, false, false},
		{"bad sync from now on", syscall.EIO, []crashfs.Op{crashfs.OpSync, crashfs.OpSyncDir}, false, true},
		{"bad anything", syscall.EIO, nil, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := 1
			for step := 1; ; k += step {
				m := newMachine(t, 7)
				m.start()
				if !m.failAt(k, tt.errno, tt.ops, tt.usable, tt.lasting) {
					break
				}
				if k > 30/slow {
					step = 7 * slow
				}
			}
			t.Logf("%d calls", k)
		})
	}
}

// failAt runs a fixed sequence of steps in which the k-th call fails, and tells
// whether there was one.
func (m *machine) failAt(k int, errno syscall.Errno, ops []crashfs.Op, usable, lasting bool) bool {
	m.t.Helper()
	wanted := make(map[crashfs.Op]bool)
	for _, op := range ops {
		wanted[op] = true
	}
	n := 0
	m.fs.SetHook(func(op crashfs.Op, name string) error {
		if len(ops) > 0 && !wanted[op] {
			return nil
		}
		if n++; n == k || (lasting && n > k) {
			m.notef("--- %s %s fails", op, name)
			return errno
		}
		return nil
	})
	m.idx.hook = nil
	m.fails = func(err error) bool {
		if m.disk.pack.broken() != nil {
			return !usable
		}
		return errors.Is(err, errno) && (errno != syscall.ENOSPC || errors.Is(err, ErrNoSpace))
	}
	m.rng = rand.New(rand.NewPCG(uint64(k)%5, 5))
	for range 60 {
		m.step()
	}
	m.fs.SetHook(nil)
	failed := n >= k
	if m.disk.pack.broken() == nil {
		m.check(false)
		m.fails = nil
		for range 20 {
			m.step()
		}
		m.check(false)
		if err := m.disk.Close(); err != nil {
			m.fatalf("close: %v", err)
		}
	} else if err := m.disk.Sync(context.Background()); !errors.Is(err, errno) {
		m.fatalf("a store that can't sync says %v", err)
	}
	m.fails = nil
	d, err := openDisk(context.Background(), "", m.environment(), Options{Logger: m.log})
	if err != nil {
		m.fatalf("open again: %v", err)
	}
	m.disk = d
	m.check(false)
	if err := d.Close(); err != nil {
		m.fatalf("close: %v", err)
	}
	return failed
}
