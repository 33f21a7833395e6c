package dag

import (
	"fmt"

	"github.com/hypha-node/hypha-node/internal/safename"
	"github.com/ipfs/go-cid"
)

// Limits bound what a DAG may make this package do. Zero fields mean defaults.
type Limits struct {
	Entries int64 // entries of a tree, all directories together; 0 means 1,000,000
	Bytes   int64 // content of all files together; 0 means no limit but free space
	// AnyCase accepts names in one directory that differ in case alone. Where
	// file systems ignore case, one of the files would take the other's place.
	AnyCase bool
}

// defaultEntries is above the largest published repositories (datasets of
// 100,000 files).
const defaultEntries = 1_000_000

// A tree may show the same directory in many places, so a few blocks can stand
// for any number of entries. Honest trees do it a little: copies of vendored
// code, empty directories.
const (
	freeEntries = 4096 // entries that no tree is asked about
	perDistinct = 16   // entries for each entry of a directory that was not seen before
)

// guard counts what a tree makes its walker do, and stops it when that is
// beyond the limits.
type guard struct {
	limits   Limits
	entries  int64
	distinct int64 // entries, each directory counted once
	bytes    int64
	seen     map[string]bool // directories, by multihash
}

func newGuard(l Limits) *guard {
	if l.Entries <= 0 {
		l.Entries = defaultEntries
	}
	if l.Bytes <= 0 {
		l.Bytes = maxFile
	}
	return &guard{limits: l, seen: make(map[string]bool)}
}

// enter tells whether the directory c is seen for the first time.
func (g *guard) enter(c cid.Cid) bool {
	first := !g.seen[string(c.Hash())]
	if first {
		g.seen[string(c.Hash())] = true
	}
	return first
}

// entry counts one entry of the directory c.
func (g *guard) entry(c cid.Cid, first bool) error {
	g.entries++
	if first {
		g.distinct++
	}
	switch {
	case g.entries > g.limits.Entries:
		return fmt.Errorf("directory %s: more than %d entries in all: %w", c, g.limits.Entries, ErrTooLarge)
	case g.entries > freeEntries+perDistinct*g.distinct:
		return fmt.Errorf("directory %s: the same directories over and over: %w", c, ErrTooLarge)
	}
	return nil
}

// names judges the names of one directory, and that no two are alike.
type names struct {
	seen    map[string]bool
	anyCase bool
}

func (l Limits) names(n int) names { return names{make(map[string]bool, n), l.AnyCase} }

// add judges the next name.
func (n names) add(name string) error {
	if err := safename.Segment(name); err != nil {
		return err
	}
	key := name
	if !n.anyCase {
		key = safename.Fold(name)
	}
	if n.seen[key] {
		return fmt.Errorf("%.100q is the second entry of its name, or differs from the first in case alone", name)
	}
	n.seen[key] = true
	return nil
}

// file counts the content of a file.
func (g *guard) file(size int64) error {
	if size > g.limits.Bytes-g.bytes {
		return fmt.Errorf("more than %d bytes in all: %w", g.limits.Bytes, ErrTooLarge)
	}
	g.bytes += size
	return nil
}
