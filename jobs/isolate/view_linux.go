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
	oldRoot = "/.old" // where the system's root is while a view is made

	viewTemp    = "/tmp" // of every view, its own
	viewVarTemp = "/var/tmp"
)

// viewer makes a view.
type viewer struct {
	Spec
	owners int    // descriptor of the user namespace that says how owners show; 0: as they are
	temp   string // where the view's temporary directory is outside; "": nowhere
}

// view makes the calling process see its own root with what the specification
// names and nothing else. The process has a mount namespace of its own and may
// mount in it. owners says how owners show; 0: as they are.
func (s Spec) view(owners int) error { return (&viewer{Spec: s, owners: owners}).make() }

// make does what view says.
func (s *viewer) make() error {
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
		if err := s.show(e); err != nil {
			return err
		}
	}
	if err := s.showDevices(nodes); err != nil {
		return err
	}
	if s.HideNetwork {
		if err := mount("tmpfs", "/sys/class/net", "tmpfs", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "size=4k"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, at := range s.WorkAt {
		if err := s.show(entry{path: s.WorkDir, at: at, write: true, owned: true}); err != nil {
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
func (s *viewer) showTemp() error {
	if s.TempDir != "" {
		real, _, err := chase(oldRoot, filepath.Clean(s.TempDir))
		if err != nil {
			return &Error{Step: "find " + s.TempDir, Err: err}
		}
		s.temp = oldRoot + real
	}
	for _, at := range []string{viewTemp, viewVarTemp} {
		if s.TempDir != "" {
			if err := s.show(entry{path: s.TempDir, at: at, write: true, owned: true}); err != nil {
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
	owned bool // its owner, this process's user, shows as the command's
}

// entries returns what the view shows, parents before what lies in them.
func (s Spec) entries() ([]entry, error) {
	var all []entry
	for _, list := range [][]string{SystemPaths(), s.ReadOnly} {
		readable, err := s.unhidden(list)
		if err != nil {
			return nil, err
		}
		given := len(all) > 0 // the second list: what the node's user may read, the command may
		for _, p := range readable {
			all = append(all, entry{path: p, owned: given})
		}
	}
	for _, p := range []string{s.WorkDir, s.Socket, s.TempDir} {
		if p != "" {
			all = append(all, entry{path: filepath.Clean(p), write: true, owned: true})
		}
	}
	for _, p := range s.ReadWrite {
		all = append(all, entry{path: filepath.Clean(p), write: true, owned: true})
	}
	slices.SortStableFunc(all, func(a, b entry) int { return strings.Compare(a.path, b.path) })
	return all, nil
}

// show makes e part of the view, with the symlinks that lead to it.
func (s *viewer) show(e entry) error {
	real, links, err := chase(oldRoot, e.path)
	if err != nil {
		return &Error{Step: "find " + e.path, Err: err}
	}
	at := real
	if e.at != "" {
		at, links = e.at, nil
	}
	for _, l := range links {
		to := s.writable(l.at)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return &Error{Step: "make " + filepath.Dir(l.at), Err: err}
		}
		if err := os.Symlink(l.target, to); err != nil && !errors.Is(err, fs.ErrExist) {
			return &Error{Step: "link " + l.at, Err: err}
		}
	}
	info, err := os.Lstat(oldRoot + real)
	if err != nil {
		return &Error{Step: "find " + e.path, Err: err}
	}
	if err := mountPoint(s.writable(at), info.IsDir()); err != nil {
		return &Error{Step: "make " + at, Err: err}
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID}
	if !e.write {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if e.owned && s.owners > 0 {
		attr.Attr_set |= unix.MOUNT_ATTR_IDMAP
		attr.Userns_fd = uint64(s.owners)
	}
	err = bind(oldRoot+real, at, &attr)
	if errors.Is(err, unix.EINVAL) && e.owned && !e.write { // a file system that can't: only what is everybody's can be read
		attr.Attr_set &^= unix.MOUNT_ATTR_IDMAP
		attr.Userns_fd = 0
		err = bind(oldRoot+real, at, &attr)
	}
	return err
}

// bind shows a tree at another path too, with attributes that it has from its
// first moment there.
func bind(source, target string, attr *unix.MountAttr) error {
	tree, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return &Error{Step: "open " + target, Err: err}
	}
	defer unix.Close(tree)
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, attr); err != nil {
		return &Error{Step: "protect " + target, Err: err}
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return &Error{Step: "mount " + target, Err: err}
	}
	return nil
}

// writable returns the path at which this process can make at: in a directory
// whose owners show as others, root is nobody.
func (s *viewer) writable(at string) string {
	for _, dir := range []string{viewTemp, viewVarTemp} {
		if s.temp != "" && at != dir && within(dir, at) {
			return s.temp + strings.TrimPrefix(at, dir)
		}
	}
	return at
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
func (s *viewer) showDevices(nodes []string) error {
	for _, node := range nodes {
		if err := s.show(entry{path: node, write: true}); err != nil {
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
