package isolate

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	oldRoot  = "/.old" // where the system's root is while a view is made
	viewTemp = "/tmp"  // of every view, its own
)

// view makes the calling process see its own root with what the specification
// names and nothing else. The process has a mount namespace of its own and may
// mount in it.
func (s Spec) view() error {
	mask := unix.Umask(0o022) // other users pass through the directories made here
	defer unix.Umask(mask)
	entries, err := s.entries()
	if err != nil {
		return err
	}
	nodes := devices()
	if err := enterEmptyRoot(); err != nil {
		return err
	}
	if err := s.showTemp(); err != nil {
		return err
	}
	for _, e := range entries {
		if err := e.show(); err != nil {
			return err
		}
	}
	if err := showDevices(nodes); err != nil {
		return err
	}
	if s.HideNetwork {
		if err := mount("tmpfs", "/sys/class/net", "tmpfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "size=4k"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, at := range s.WorkAt {
		if err := (entry{path: s.WorkDir, at: at, write: true}).show(); err != nil {
			return err
		}
	}
	if err := unix.Unmount(oldRoot, unix.MNT_DETACH); err != nil {
		return &Error{Step: "leave the system's root", Err: err}
	}
	if err := os.Remove(oldRoot); err != nil {
		return &Error{Step: "leave the system's root", Err: err}
	}
	return mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "")
}

// enterEmptyRoot makes an empty file system the root and the system's root
// oldRoot below it.
func enterEmptyRoot() error {
	if err := mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	base := "/" // any directory will do
	for _, dir := range []string{"/tmp", "/mnt", "/usr"} {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			base = dir
			break
		}
	}
	if err := mount("tmpfs", base, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=1m"); err != nil {
		return err
	}
	if err := os.Chdir(base); err != nil {
		return &Error{Step: "enter " + base, Err: err}
	}
	if err := os.Mkdir("."+oldRoot, 0o700); err != nil {
		return &Error{Step: "make a root", Err: err}
	}
	if err := unix.PivotRoot(".", "."+oldRoot); err != nil {
		return &Error{Step: "change the root", Err: err}
	}
	if err := os.Chdir("/"); err != nil {
		return &Error{Step: "enter the root", Err: err}
	}
	return nil
}

// showTemp makes /tmp and /var/tmp: the job's own, or in memory.
func (s Spec) showTemp() error {
	for _, at := range []string{viewTemp, "/var/tmp"} {
		if s.TempDir != "" {
			if err := (entry{path: s.TempDir, at: at, write: true}).show(); err != nil {
				return err
			}
			continue
		}
		if err := os.MkdirAll(at, 0o755); err != nil {
			return &Error{Step: "make " + at, Err: err}
		}
		if err := mount("tmpfs", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
			return err
		}
	}
	return nil
}

// entry is one path of the view.
type entry struct {
	path  string // outside
	at    string // inside; "": the same
	write bool
}

// entries returns what the view shows, parents before what lies in them.
func (s Spec) entries() ([]entry, error) {
	readable, err := s.readable()
	if err != nil {
		return nil, err
	}
	var all []entry
	for _, p := range readable {
		all = append(all, entry{path: p})
	}
	for _, p := range []string{s.WorkDir, s.Socket, s.TempDir} {
		if p != "" {
			all = append(all, entry{path: filepath.Clean(p), write: true})
		}
	}
	for _, p := range s.ReadWrite {
		all = append(all, entry{path: filepath.Clean(p), write: true})
	}
	slices.SortStableFunc(all, func(a, b entry) int { return strings.Compare(a.path, b.path) })
	return all, nil
}

// show makes e part of the view, with the symlinks that lead to it.
func (e entry) show() error {
	real, links, err := chase(oldRoot, e.path)
	if err != nil {
		return &Error{Step: "find " + e.path, Err: err}
	}
	at := real
	if e.at != "" {
		at, links = e.at, nil
	}
	for _, l := range links {
		if err := os.MkdirAll(filepath.Dir(l.at), 0o755); err != nil {
			return &Error{Step: "make " + filepath.Dir(l.at), Err: err}
		}
		if err := os.Symlink(l.target, l.at); err != nil && !errors.Is(err, fs.ErrExist) {
			return &Error{Step: "link " + l.at, Err: err}
		}
	}
	info, err := os.Lstat(oldRoot + real)
	if err != nil {
		return &Error{Step: "find " + e.path, Err: err}
	}
	if err := mountPoint(at, info.IsDir()); err != nil {
		return &Error{Step: "make " + at, Err: err}
	}
	if err := mount(oldRoot+real, at, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	attr := uint64(unix.MOUNT_ATTR_NOSUID)
	if !e.write {
		attr |= unix.MOUNT_ATTR_RDONLY
	}
	return setAttr(at, attr)
}

// mountPoint makes an empty directory or file at a path, unless there is something.
func mountPoint(at string, dir bool) error {
	if _, err := os.Lstat(at); err == nil {
		return nil
	}
	if dir {
		return os.MkdirAll(at, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	return os.WriteFile(at, nil, 0o600)
}

// showDevices makes /dev.
func showDevices(nodes []string) error {
	for _, node := range nodes {
		if err := (entry{path: node, write: true}).show(); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(target, "/dev/"+name); err != nil {
			return &Error{Step: "link /dev/" + name, Err: err}
		}
	}
	if err := os.MkdirAll("/dev/shm", 0o755); err != nil {
		return &Error{Step: "make /dev/shm", Err: err}
	}
	return mount("tmpfs", "/dev/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777")
}

// link is a symlink on the way to a path.
type link struct{ at, target string }

// chase follows path below root, as if root were /, and returns where it leads
// and the symlinks that it passed.
func chase(root, path string) (real string, links []link, err error) {
	rest := strings.Split(path, "/")
	real = "/"
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			real = filepath.Dir(real)
			continue
		}
		next := filepath.Join(real, name)
		target, err := os.Readlink(root + next)
		if errors.Is(err, syscall.EINVAL) { // it is there and no link
			real = next
			continue
		}
		if err != nil {
			return "", nil, err
		}
		const most = 40 // as the kernel has it
		if links = append(links, link{at: next, target: target}); len(links) > most {
			return "", nil, syscall.ELOOP
		}
		if filepath.IsAbs(target) {
			real = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return real, links, nil
}

// mount is mount(2) with an error that says where.
func mount(source, target, kind string, flags uintptr, data string) error {
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		return &Error{Step: "mount " + target, Err: err}
	}
	return nil
}

// setAttr adds attributes to a mount and all below it.
func setAttr(target string, attr uint64) error {
	if err := unix.MountSetattr(unix.AT_FDCWD, target, unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: attr}); err != nil {
		return &Error{Step: "protect " + target, Err: err}
	}
	return nil
}
