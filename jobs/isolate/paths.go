package isolate

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// SystemPaths returns what every confined command may read and execute, as far
// as it is there: the system's programs, libraries and settings.
func SystemPaths() []string {
	paths := []string{
		"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/opt",
		"/nix/store", "/gnu/store", "/run/current-system", // systems that keep programs elsewhere
		"/proc", "/sys",
	}
	// Where /etc points out of /etc: without it there are no names of hosts and
	// no time zone.
	for _, name := range []string{"/etc/resolv.conf", "/etc/hosts", "/etc/localtime"} {
		if real, err := filepath.EvalSymlinks(name); err == nil && real != name {
			paths = append(paths, real)
		}
	}
	return slices.DeleteFunc(paths, func(p string) bool {
		_, err := os.Stat(p)
		return err != nil
	})
}

// devices returns the device nodes that a confined command may use: those that
// programs can't do without, and GPUs.
func devices() []string {
	nodes := []string{
		"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx", "/dev/pts",
		"/dev/dri", "/dev/kfd",
	}
	more, err := filepath.Glob("/dev/nvidia*")
	if err == nil { // it is for bad patterns only
		nodes = append(nodes, more...)
	}
	return slices.DeleteFunc(nodes, func(p string) bool {
		_, err := os.Stat(p)
		return err != nil
	})
}

// DeviceGroups returns the groups, besides root's, that GPUs are for: a command of
// a user of its own has to be in them.
func DeviceGroups() []int {
	var groups []int
	for _, pattern := range []string{"/dev/dri/render*", "/dev/kfd", "/dev/nvidia*"} {
		nodes, err := filepath.Glob(pattern)
		if err != nil { // it is for bad patterns only
			continue
		}
		for _, node := range nodes {
			if gid := groupOf(node); gid > 0 && !slices.Contains(groups, gid) {
				groups = append(groups, gid)
			}
		}
	}
	return groups
}

// Around returns what a program, or a file that it is given, needs to be read:
// its directory, or the whole tree of an environment (bin beside lib) whose
// program it is; the same for what it links to and for the interpreter in its
// first line. Where that would open a directory that holds more than such files
// (one of wide, /tmp, /home, or anything above), it is the file alone. What lies
// in a hidden directory is left out.
func Around(file string, hidden, wide []string) []string {
	a := newSurroundings(hidden, wide)
	a.collect(file, 0)
	return a.paths
}

// newSurroundings returns an empty collection.
func newSurroundings(hidden, wide []string) *surroundings {
	return &surroundings{hidden: hidden, wide: slices.Concat(hidden, wide, []string{"/tmp", "/var/tmp", "/home", "/proc", "/dev", "/run"})}
}

// Named returns what a command needs to be read of what it names: its program,
// looked for in env's PATH, the absolute paths among its arguments and after
// their "=", and the directories in the variables that programs look for parts
// of themselves in. dir is the directory that relative programs are relative to.
// See Around for what is never opened.
func Named(args, env []string, dir string, hidden, wide []string) []string {
	a := newSurroundings(hidden, wide)
	for i, arg := range args {
		switch {
		case i > 0:
			if _, value, ok := strings.Cut(arg, "="); ok && !filepath.IsAbs(arg) {
				arg = value
			}
		case strings.Contains(arg, "/") && !filepath.IsAbs(arg):
			arg = filepath.Join(dir, arg)
		case !strings.Contains(arg, "/"):
			arg = inPath(arg, env)
		}
		if filepath.IsAbs(arg) {
			a.collect(filepath.Clean(arg), 0)
		}
	}
	for _, name := range []string{"PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX", "NODE_PATH", "PERL5LIB", "RUBYLIB", "R_LIBS"} {
		if at := lastIndex(env, name); at >= 0 {
			for _, d := range filepath.SplitList(env[at][len(name)+1:]) {
				if info, err := os.Stat(d); filepath.IsAbs(d) && err == nil && info.IsDir() {
					a.open(filepath.Clean(d))
				}
			}
		}
	}
	return a.paths
}

// inPath returns where a program is, "" if nowhere.
func inPath(name string, env []string) string {
	at := lastIndex(env, "PATH")
	if at < 0 {
		return ""
	}
	for _, dir := range filepath.SplitList(env[at][len("PATH="):]) {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return file
		}
	}
	return ""
}

// surroundings is what Around has found.
type surroundings struct {
	hidden, wide []string
	paths        []string
}

// add tries to open p and tells whether the matter is settled.
func (a *surroundings) add(p string) bool {
	switch {
	case covers(a.hidden, p):
		return true // named or not, it is not to be had
	case slices.ContainsFunc(a.wide, func(w string) bool { return within(p, w) }):
		return false
	case !covers(a.paths, p):
		a.paths = append(a.paths, p)
	}
	return true
}

// collect adds what file needs.
func (a *surroundings) collect(file string, depth int) {
	const most = 8 // links and interpreters in a row
	if !filepath.IsAbs(file) || depth > most {
		return
	}
	info, err := os.Lstat(file)
	if err != nil {
		return
	}
	if info.IsDir() {
		a.add(file)
		return
	}
	if !a.open(filepath.Dir(file)) {
		a.add(file)
	}
	if info.Mode()&os.ModeSymlink != 0 {
		if target, err := os.Readlink(file); err == nil {
			if !filepath.IsAbs(target) {
				target = filepath.Join(filepath.Dir(file), target)
			}
			a.collect(target, depth+1)
		}
		return
	}
	if name := interpreter(file, info); name != "" {
		a.collect(name, depth+1)
	}
}

// open tries to open a directory of programs, or the tree that it belongs to.
func (a *surroundings) open(dir string) bool {
	tree := environment(dir)
	return tree != "" && a.add(tree) || a.add(dir)
}

// environment returns the tree that the programs of a directory belong to, such
// as a virtual environment; "" if they stand alone.
func environment(dir string) string {
	tree := filepath.Dir(dir)
	switch filepath.Base(dir) {
	case "shims": // of version managers: scripts that look for the program in the tree
		return tree
	case "bin":
		for _, name := range []string{"pyvenv.cfg", "conda-meta", "lib"} {
			if _, err := os.Stat(filepath.Join(tree, name)); err == nil {
				return tree
			}
		}
	}
	return ""
}

// interpreter returns the absolute path in a script's first line, "" if there is none.
func interpreter(file string, info os.FileInfo) string {
	if !info.Mode().IsRegular() {
		return ""
	}
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()                                                       // it was only read
	line, err := bufio.NewReader(io.LimitReader(f, 256)).ReadString('\n') // as much as the kernel looks at
	if err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	return shebang(line)
}

// shebang returns the absolute path of the interpreter that the first line of a
// script names, "" if it names none.
func shebang(line string) string {
	rest, ok := strings.CutPrefix(line, "#!")
	fields := strings.Fields(rest)
	if !ok || len(fields) == 0 || !filepath.IsAbs(fields[0]) || strings.ContainsRune(fields[0], 0) {
		return ""
	}
	return filepath.Clean(fields[0])
}

// readable returns the paths that may be read.
func (s Spec) readable() ([]string, error) { return s.unhidden(append(SystemPaths(), s.ReadOnly...)) }

// unhidden returns a list where a path that holds something hidden is replaced by
// what else is in it.
func (s Spec) unhidden(list []string) ([]string, error) {
	var paths []string
	for _, p := range list {
		more, err := without(filepath.Clean(p), s.Hidden)
		if err != nil {
			return nil, &Error{Step: "hide a directory in " + p, Err: err}
		}
		paths = append(paths, more...)
	}
	return paths, nil
}

// without returns p, or what is in it besides the hidden directories.
func without(p string, hidden []string) ([]string, error) {
	real, err := filepath.EvalSymlinks(p)
	if err != nil {
		return nil, err
	}
	if covers(hidden, p) || covers(hidden, real) {
		return nil, nil
	}
	if !slices.ContainsFunc(hidden, func(h string) bool { return within(p, h) || within(real, h) }) {
		return []string{p}, nil
	}
	entries, err := os.ReadDir(real)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, e := range entries {
		more, err := without(filepath.Join(real, e.Name()), hidden)
		if err != nil && !os.IsNotExist(err) { // a link that leads nowhere
			return nil, err
		}
		paths = append(paths, more...)
	}
	return paths, nil
}

// covers tells whether p is one of the directories or lies below one.
func covers(dirs []string, p string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return within(dir, p) })
}

// within tells whether p is dir or lies below it. Both are clean.
func within(dir, p string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}

// environ returns env for a confined command: HOME and the temporary
// directories, where it could not use them, are its own.
func (s Spec) environ(env []string) []string {
	writable := append([]string{s.WorkDir, s.TempDir}, s.ReadWrite...)
	writable = slices.DeleteFunc(writable, func(p string) bool { return p == "" })
	own := map[string]string{"HOME": s.WorkDir}
	if s.TempDir != "" {
		own["TMPDIR"] = s.TempDir
	}
	for _, name := range []string{"TMP", "TEMP", "TMPDIR", "HOME"} {
		at := lastIndex(env, name)
		reach := writable
		if name == "HOME" {
			reach = append(reach, s.ReadOnly...)
		}
		if at >= 0 && covers(reach, filepath.Clean(env[at][len(name)+1:])) {
			continue
		}
		env = slices.DeleteFunc(slices.Clone(env), func(e string) bool { return strings.HasPrefix(e, name+"=") })
		if value := own[name]; value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// lastIndex returns where env has the value of a variable that counts, -1 if nowhere.
func lastIndex(env []string, name string) int {
	for i, e := range slices.Backward(env) {
		if strings.HasPrefix(e, name+"=") {
			return i
		}
	}
	return -1
}
