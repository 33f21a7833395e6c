package blockstore

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/hypha-node/hypha-node/blockstore/internal/vfs"
)

const (
	// leastReserve is the room in bytes below which the index is not written
	// to: Badger writes through memory maps, in which a full disk is a SIGBUS
	// that ends the process. It is what the largest compaction writes.
	leastReserve = 32 << 20
	// leastRoom is the room in bytes that a few small writes to the index
	// need, with the flush of a memtable among them: what a collection needs to
	// give more room back.
	leastRoom = memTable + 512<<10
)

// space refuses writes before the disk is full.
type space struct {
	fs      vfs.FS
	path    string
	reserve int64 // as in Options.Reserve
	ballast *ballast
}

// keep returns the free bytes below which content is refused on a file system of
// total bytes.
func (s *space) keep(total int64) int64 {
	switch {
	case s.reserve < 0:
		return leastReserve
	case s.reserve > 0:
		return max(s.reserve, leastReserve)
	}
	return max(leastReserve, min(max(1<<30, total/50), total/4))
}

// want returns ErrNoSpace if n more bytes of content would cut into the reserve.
func (s *space) want(n int64) error { return s.check(n, s.keep) }

// forIndex returns ErrNoSpace if the index must not be written to.
func (s *space) forIndex() error {
	return s.check(0, func(int64) int64 { return leastReserve })
}

// toFree returns ErrNoSpace if the index can't even take what gives room back.
// The ballast goes overboard for that.
func (s *space) toFree() error {
	least := func(int64) int64 { return leastRoom }
	if err := s.check(0, least); err == nil || !errors.Is(err, ErrNoSpace) {
		return err
	}
	if err := s.ballast.drop(); err != nil {
		return err
	}
	return s.check(0, least)
}

func (s *space) check(n int64, keep func(total int64) int64) error {
	room, err := s.fs.Space()
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return err
	}
	if keep := keep(room.Total); room.Free-n < keep {
		return fmt.Errorf("%s: %d bytes wanted, %d free, %d in reserve: %w", s.path, n, room.Free, keep, ErrNoSpace)
	}
	return nil
}

// noSpace makes the kernel's refusals satisfy errors.Is(err, ErrNoSpace).
func noSpace(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) {
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	return err
}
