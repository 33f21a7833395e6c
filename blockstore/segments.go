package blockstore

import (
	"container/list"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/hypha-node/hypha-node/blockstore/internal/vfs"
)

// Endings of the names of segments; before them stands the number in hex.
const (
	fileSuffix = ".file"
	packSuffix = ".pack"
	partSuffix = ".part" // a file segment that is not whole yet
	// asideSuffix follows the name of a segment that is of no use.
	asideSuffix = ".bad"
)

// maxOpenSegments is how many segments are kept open for reading at most.
const maxOpenSegments = 128

// kindOf tells what a segment is from its number: packs are even, files odd.
func kindOf(id uint64) segmentKind {
	if id&1 == 1 {
		return fileSegment
	}
	return packSegment
}

func segmentName(id uint64) string {
	if kindOf(id) == fileSegment {
		return fmt.Sprintf("%016x%s", id, fileSuffix)
	}
	return fmt.Sprintf("%016x%s", id, packSuffix)
}

func partName(id uint64) string { return fmt.Sprintf("%016x%s", id, partSuffix) }

// parseSegmentName is the inverse of segmentName.
func parseSegmentName(name string) (id uint64, ok bool) {
	digits, _, _ := strings.Cut(name, ".")
	id, err := strconv.ParseUint(digits, 16, 64)
	return id, err == nil && id > 1 && segmentName(id) == name
}

// segments hands out numbers and keeps segments open for reading.
type segments struct {
	fs  vfs.FS
	max int

	mu   sync.Mutex
	next uint64 // half of the next number
	open map[uint64]*list.Element
	lru  *list.List // of *openSegment, most recently used first
}

// openSegment is a file that readers share; it is closed when the last of them
// has gone and the cache has let go of it.
type openSegment struct {
	vfs.File
	id   uint64
	refs int // guarded by segments.mu
	gone bool
}

func newSegments(fs vfs.FS) *segments {
	return &segments{fs: fs, max: maxOpenSegments, next: 1, open: make(map[uint64]*list.Element), lru: list.New()}
}

// allocate returns a number that no segment had before.
func (s *segments) allocate(kind segmentKind) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.next << 1
	s.next++
	if kind == fileSegment {
		id |= 1
	}
	return id
}

// used tells that numbers up to id are taken.
func (s *segments) used(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = max(s.next, id>>1+1)
}

// highest returns a number that is not below any that was handed out.
func (s *segments) highest() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next << 1
}

// acquire opens a segment for reading; the caller releases it.
func (s *segments) acquire(id uint64) (*openSegment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.open[id]; ok {
		s.lru.MoveToFront(e)
		return s.take(e), nil
	}
	mode := vfs.Read
	if kindOf(id) == fileSegment {
		mode = vfs.ReadBulk
	}
	f, err := s.fs.Open(segmentName(id), mode)
	for noDescriptors(err) && s.evict() {
		f, err = s.fs.Open(segmentName(id), mode)
	}
	if err != nil {
		return nil, err
	}
	e := s.lru.PushFront(&openSegment{File: f, id: id})
	s.open[id] = e
	o := s.take(e)
	for s.lru.Len() > s.max && s.evict() {
	}
	return o, nil
}

func (s *segments) take(e *list.Element) *openSegment {
	o, _ := e.Value.(*openSegment) //nolint:errcheck // the list holds nothing else
	o.refs++
	return o
}

func noDescriptors(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// evict closes the segment that nobody has used for longest; the caller holds mu.
func (s *segments) evict() bool {
	for e := s.lru.Back(); e != nil; e = e.Prev() {
		o, _ := e.Value.(*openSegment) //nolint:errcheck // the list holds nothing else
		if o.refs == 0 {
			s.drop(e, o)
			return true
		}
	}
	return false
}

func (s *segments) drop(e *list.Element, o *openSegment) {
	s.lru.Remove(e)
	delete(s.open, o.id)
	o.gone = true
	if o.refs == 0 {
		_ = o.Close()
	}
}

func (s *segments) release(o *openSegment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o.refs--
	if o.gone && o.refs == 0 {
		_ = o.Close()
	}
}

// forget closes a segment as soon as its readers are done, so that the room of
// an unlinked file comes back.
func (s *segments) forget(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.open[id]; ok {
		o, _ := e.Value.(*openSegment) //nolint:errcheck // the list holds nothing else
		s.drop(e, o)
	}
}

func (s *segments) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := s.lru.Front(); e != nil; e = s.lru.Front() {
		o, _ := e.Value.(*openSegment) //nolint:errcheck // the list holds nothing else
		s.drop(e, o)
	}
}
