// Package crashfs is a file system in memory for tests of the store: it can lose
// its power, upon which anything that was not synced may be gone, there, or torn,
// and every call can be made to fail. It keeps exactly the promises of package
// vfs and no more.
package crashfs

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/hypha-node/hypha-node/blockstore/internal/vfs"
	"github.com/hypha-node/hypha-node/internal/diskspace"
)

// sector is what a disk writes whole or not at all, in bytes.
const sector = 512

// Op names a call for a hook.
type Op string

// The calls that a hook sees.
const (
	OpOpen     Op = "open"
	OpCreate   Op = "create"
	OpRead     Op = "read"
	OpWrite    Op = "write"
	OpSync     Op = "sync"
	OpTruncate Op = "truncate"
	OpAllocate Op = "allocate"
	OpPunch    Op = "punch"
	OpRename   Op = "rename"
	OpRemove   Op = "remove"
	OpList     Op = "list"
	OpSyncDir  Op = "syncdir"
)

// Hook is called before every call; an error makes the call fail with it. A
// write that fails may have been done in part.
type Hook func(op Op, name string) error

// FS is one directory. The zero value is not usable.
type FS struct {
	mu    sync.Mutex
	rng   *rand.Rand
	hook  Hook
	free  int64             // bytes, as Space tells
	now   map[string]*inode // directory as it is
	then  map[string]*inode // directory at the last SyncDir
	since []change          // changes of the directory after that
}

var _ vfs.FS = (*FS)(nil)

// inode is a file: its bytes as they are, and as they were at the last Sync.
type inode struct{ now, then []byte }

// change is one step of the directory: to is made to be what from was; an empty
// from is a new file, an empty to a removal.
type change struct {
	from, to string
	file     *inode
}

// New returns an empty file system whose choices follow from seed.
func New(seed uint64) *FS {
	return &FS{
		rng: rand.New(rand.NewPCG(seed, 1)), free: 1 << 40,
		now: make(map[string]*inode), then: make(map[string]*inode),
	}
}

// SetHook replaces the hook; nil is none.
func (f *FS) SetHook(h Hook) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hook = h
}

// SetFree sets the free space that Space tells, in bytes.
func (f *FS) SetFree(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.free = n
}

// Crash returns what the disk holds after the power was cut now: of what was not
// synced any part, sector by sector. The file system itself goes on.
func (f *FS) Crash(seed uint64) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	after := New(seed)
	after.free = f.free
	names := maps.Clone(f.then)
	for _, c := range f.since {
		if after.rng.IntN(2) == 0 {
			continue
		}
		switch {
		case c.from == "":
			names[c.to] = c.file
		case names[c.from] != c.file: // what it changed did not come about
		case c.to == "":
			delete(names, c.from)
		default:
			delete(names, c.from)
			names[c.to] = c.file
		}
	}
	made := make(map[*inode]*inode)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		old := names[name]
		if made[old] == nil {
			data := old.survive(after.rng)
			made[old] = &inode{now: data, then: slices.Clone(data)}
		}
		after.now[name], after.then[name] = made[old], made[old]
	}
	return after
}

// survive returns what is left of a file.
func (i *inode) survive(rng *rand.Rand) []byte {
	size := len(i.then)
	if d := len(i.now) - len(i.then); d != 0 && rng.IntN(3) > 0 {
		size = len(i.now)
		if rng.IntN(2) == 0 { // somewhere between
			size = min(len(i.now), len(i.then)) + rng.IntN(max(d, -d)+1)
		}
	}
	data := make([]byte, size)
	copy(data, i.then)
	all := rng.IntN(4) == 0
	for off := 0; off < size; off += sector {
		if end := min(off+sector, size, len(i.now)); off < end && (all || rng.IntN(2) == 0) {
			copy(data[off:end], i.now[off:end])
		}
	}
	return data
}

// call runs the hook and then the call, under the lock.
func (f *FS) call(op Op, name string, do func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.hooked(op, name); err != nil {
		return &fs.PathError{Op: string(op), Path: name, Err: err}
	}
	if err := do(); err != nil {
		return &fs.PathError{Op: string(op), Path: name, Err: err}
	}
	return nil
}

func (f *FS) hooked(op Op, name string) error {
	if f.hook == nil {
		return nil
	}
	return f.hook(op, name)
}

// Open opens or makes a file.
func (f *FS) Open(name string, mode vfs.Mode) (vfs.File, error) {
	op, create := OpOpen, mode == vfs.Create || mode == vfs.CreateBulk
	if create {
		op = OpCreate
	}
	var file *handle
	err := f.call(op, name, func() error {
		i, ok := f.now[name]
		switch {
		case create && ok:
			return fs.ErrExist
		case create:
			i = &inode{}
			f.now[name] = i
			f.since = append(f.since, change{to: name, file: i})
		case !ok:
			return fs.ErrNotExist
		}
		file = &handle{fs: f, name: name, inode: i, writable: mode != vfs.Read && mode != vfs.ReadBulk}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return file, nil
}

// Rename renames a file.
func (f *FS) Rename(oldname, newname string) error {
	return f.call(OpRename, oldname, func() error {
		i, ok := f.now[oldname]
		if !ok {
			return fs.ErrNotExist
		}
		delete(f.now, oldname)
		f.now[newname] = i
		f.since = append(f.since, change{from: oldname, to: newname, file: i})
		return nil
	})
}

// Remove removes a file; who has it open goes on.
func (f *FS) Remove(name string) error {
	return f.call(OpRemove, name, func() error {
		i, ok := f.now[name]
		if !ok {
			return fs.ErrNotExist
		}
		delete(f.now, name)
		f.since = append(f.since, change{from: name, file: i})
		return nil
	})
}

// List lists the directory.
func (f *FS) List() ([]vfs.Info, error) {
	var infos []vfs.Info
	err := f.call(OpList, ".", func() error {
		for _, name := range slices.Sorted(maps.Keys(f.now)) {
			infos = append(infos, f.info(name))
		}
		return nil
	})
	return infos, err
}

// Stat looks at one file.
func (f *FS) Stat(name string) (info vfs.Info, err error) {
	err = f.call(OpList, name, func() error {
		if f.now[name] == nil {
			return fs.ErrNotExist
		}
		info = f.info(name)
		return nil
	})
	return info, err
}

func (f *FS) info(name string) vfs.Info {
	n := int64(len(f.now[name].now))
	return vfs.Info{Name: name, Size: n, Allocated: n}
}

// SyncDir makes the directory durable as it is.
func (f *FS) SyncDir() error {
	return f.call(OpSyncDir, ".", func() error {
		f.then, f.since = maps.Clone(f.now), nil
		return nil
	})
}

// Space tells what SetFree set.
func (f *FS) Space() (diskspace.Space, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return diskspace.Space{Free: f.free, Total: 1 << 40}, nil
}

// handle is an open file.
type handle struct {
	fs       *FS
	name     string
	inode    *inode
	writable bool
}

func (h *handle) ReadAt(p []byte, off int64) (n int, err error) {
	err = h.fs.call(OpRead, h.name, func() error {
		if off < 0 {
			return fs.ErrInvalid
		}
		if off < int64(len(h.inode.now)) {
			n = copy(p, h.inode.now[off:])
		}
		return nil
	})
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// WriteAt writes all, or after a hook's error any part from the front.
func (h *handle) WriteAt(p []byte, off int64) (int, error) {
	f := h.fs
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := len(p), f.hooked(OpWrite, h.name)
	if err != nil {
		n = f.rng.IntN(len(p) + 1)
	}
	if !h.writable || off < 0 {
		n, err = 0, fs.ErrPermission
	}
	h.inode.write(p[:n], off)
	if err != nil {
		return n, &fs.PathError{Op: string(OpWrite), Path: h.name, Err: err}
	}
	return n, nil
}

func (i *inode) write(p []byte, off int64) {
	if end := int(off) + len(p); len(p) > 0 && end > len(i.now) {
		i.now = append(i.now, make([]byte, end-len(i.now))...)
	}
	copy(i.now[min(int(off), len(i.now)):], p)
}

func (h *handle) Close() error { return nil }

func (h *handle) Size() (int64, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return int64(len(h.inode.now)), nil
}

func (h *handle) Truncate(size int64) error {
	return h.fs.call(OpTruncate, h.name, func() error {
		if size <= int64(len(h.inode.now)) {
			h.inode.now = h.inode.now[:size]
		} else {
			h.inode.now = append(h.inode.now, make([]byte, size-int64(len(h.inode.now)))...)
		}
		return nil
	})
}

func (h *handle) Sync() error {
	return h.fs.call(OpSync, h.name, func() error {
		h.inode.then = slices.Clone(h.inode.now)
		return nil
	})
}

func (h *handle) Flush(int64, int64) error { return nil }

func (h *handle) Allocate(int64) error {
	return h.fs.call(OpAllocate, h.name, func() error { return nil })
}

func (h *handle) Punch(off, n int64) error {
	return h.fs.call(OpPunch, h.name, func() error {
		if off < 0 || n < 0 || !h.writable {
			return errors.ErrUnsupported
		}
		size := int64(len(h.inode.now))
		clear(h.inode.now[min(off, size):min(off+n, size)])
		return nil
	})
}
