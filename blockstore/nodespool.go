package blockstore

import (
	"errors"
	"iter"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/blockstore/internal/vfs"
)

// nodesKept is how many bytes of inner nodes of a file wait in memory for the
// end of its content: those of about 150 GiB in leaves of 1 MiB.
const nodesKept = 8 << 20

// nodeSpool keeps the inner nodes of a file until its content is written: in
// memory, and where there are many in a part file of their own.
type nodeSpool struct {
	segs   *segments
	mem    []blocks.Block
	kept   int64         // bytes in mem
	id     uint64        // of the part file
	f      vfs.File      // nil as long as there is none
	placed []placedBlock // nodes in f
	size   int64         // bytes of f
}

func (s *nodeSpool) add(blk blocks.Block) error {
	s.mem = append(s.mem, blk)
	if s.kept += int64(len(blk.RawData())); s.kept < nodesKept {
		return nil
	}
	if s.f == nil {
		s.id = s.segs.allocate(fileSegment)
		f, err := s.segs.fs.Open(partName(s.id), vfs.Create)
		if err != nil {
			return err
		}
		s.f = f
	}
	var err error
	s.placed, s.size, err = s.drain(s.f, s.size, s.placed)
	return err
}

// drain writes the nodes in memory to f from byte at on and adds their places.
func (s *nodeSpool) drain(f vfs.File, at int64, placed []placedBlock) ([]placedBlock, int64, error) {
	buf := make([]byte, 0, s.kept)
	for _, blk := range s.mem {
		placed = append(placed, placedBlock{blk.Cid(), at + int64(len(buf)), int64(len(blk.RawData()))})
		buf = append(buf, blk.RawData()...)
	}
	s.mem, s.kept = nil, 0
	_, err := f.WriteAt(buf, at)
	return placed, at + int64(len(buf)), err
}

// copyTo writes all nodes to f from byte at on and returns their places and the
// byte behind them.
func (s *nodeSpool) copyTo(f vfs.File, at int64) ([]placedBlock, int64, error) {
	placed := make([]placedBlock, 0, len(s.placed)+len(s.mem))
	for _, p := range s.placed {
		p.off += at
		placed = append(placed, p)
	}
	buf := make([]byte, min(s.size, nodesKept))
	for off := int64(0); off < s.size; {
		b := buf[:min(int64(len(buf)), s.size-off)]
		if _, err := s.f.ReadAt(b, off); err != nil {
			return nil, 0, err
		}
		if _, err := f.WriteAt(b, at+off); err != nil {
			return nil, 0, err
		}
		off += int64(len(b))
	}
	return s.drain(f, at+s.size, placed)
}

// cids yields the nodes.
func (s *nodeSpool) cids() iter.Seq[cid.Cid] {
	return func(yield func(cid.Cid) bool) {
		for _, p := range s.placed {
			if !yield(p.cid) {
				return
			}
		}
		for _, blk := range s.mem {
			if !yield(blk.Cid()) {
				return
			}
		}
	}
}

func (s *nodeSpool) empty() bool { return len(s.mem) == 0 && len(s.placed) == 0 }

// close forgets everything.
func (s *nodeSpool) close() error {
	s.mem, s.placed = nil, nil
	if s.f == nil {
		return nil
	}
	err := s.f.Close()
	s.f = nil
	return errors.Join(err, s.segs.fs.Remove(partName(s.id)))
}
