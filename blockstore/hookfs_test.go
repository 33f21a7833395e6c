package blockstore

import (
	"github.com/hypha-node/hypha-node/blockstore/internal/vfs"
)

// hookFS calls a function before and after what changes a file system.
type hookFS struct {
	vfs.FS
	hook func(point string)
}

func (h hookFS) Open(name string, mode vfs.Mode) (vfs.File, error) {
	if mode == vfs.Read || mode == vfs.ReadBulk {
		return h.FS.Open(name, mode)
	}
	h.hook("before open")
	f, err := h.FS.Open(name, mode)
	h.hook("after open")
	if err != nil {
		return nil, err
	}
	return hookFile{f, h.hook}, nil
}

func (h hookFS) Rename(oldname, newname string) error {
	h.hook("before rename")
	defer h.hook("after rename")
	return h.FS.Rename(oldname, newname)
}

func (h hookFS) Remove(name string) error {
	h.hook("before remove")
	defer h.hook("after remove")
	return h.FS.Remove(name)
}

func (h hookFS) SyncDir() error {
	h.hook("before syncdir")
	defer h.hook("after syncdir")
	return h.FS.SyncDir()
}

type hookFile struct {
	vfs.File
	hook func(point string)
}

// WriteAt writes in two halves, so that there is something between them.
func (h hookFile) WriteAt(p []byte, off int64) (int, error) {
	h.hook("before write")
	half := len(p) / 2
	n, err := h.File.WriteAt(p[:half], off)
	if err != nil {
		return n, err
	}
	h.hook("in write")
	m, err := h.File.WriteAt(p[half:], off+int64(half))
	h.hook("after write")
	return n + m, err
}

func (h hookFile) Sync() error {
	h.hook("before sync")
	defer h.hook("after sync")
	return h.File.Sync()
}

func (h hookFile) Punch(off, n int64) error {
	h.hook("before punch")
	defer h.hook("after punch")
	return h.File.Punch(off, n)
}

// hookIndex does the same for an index.
type hookIndex struct {
	index
	hook func(point string)
}

func (h hookIndex) write(ops []indexOp) error {
	h.hook("before index")
	defer h.hook("after index")
	return h.index.write(ops)
}

// hookPoints are the places where a process may die.
func hookPoints() []string {
	return []string{
		"before open", "after open", "before write", "in write", "after write", "before sync", "after sync",
		"before rename", "after rename", "before syncdir", "after syncdir", "before index", "after index",
		"before remove", "after remove", "before punch", "after punch",
	}
}
