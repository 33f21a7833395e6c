package isolate

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestWalls tries what a confined command must not do, and what it must be able to.
func TestWalls(t *testing.T) {
	abi := Probe(t.Context(), "").LandlockABI
	for name, p := range plans(t) {
		t.Run(name, func(t *testing.T) {
			w, self := newWorld(t), strconv.Itoa(os.Getpid())
			s := w.spec(p, jobUID)
			tests := []struct {
				name, script string
				denied       bool
			}{
				{"read own file", "cat mine", false},
				{"read given file", "cat " + w.dir + "/read/given", false},
				{"write own file", "echo x > mine && mkdir d && mv mine d && rm -r d && echo y > mine", false},
				{"execute own file", "printf '#!/bin/sh\\nexit 0\\n' > prog && chmod 700 prog && ./prog", false},
				{"temporary file", `f=$(mktemp) && case $f in ` + w.temp + `/*) echo x > $f;; *) exit 9;; esac`, false},
				{"home is its own", `test "$HOME" = ` + w.work + ` && touch $HOME/x`, false},
				{"devices", "echo x > /dev/null && head -c 9 /dev/urandom > /dev/null && head -c 9 /dev/zero >/dev/null && : < /dev/fd/0", false},
				{"shared memory", "echo x > /dev/shm/hypha-$$ && rm /dev/shm/hypha-$$", false},
				{"children", "sh -c 'sh -c \"cat mine\"'", false},
				{"system", "ls /usr /etc /proc /sys > /dev/null && cat /proc/self/status > /dev/null", false},
				{"read another job's file", "cat " + w.other, true},
				{"list another job's directory", "ls " + filepath.Dir(w.other), true},
				{"list the jobs", "ls " + w.repo + "/jobs/", true},
				{"read the repository", "cat " + w.repo + "/config", true},
				{"write into the repository", "echo x > " + w.repo + "/config", true},
				{"truncate another job's file", "truncate -s 0 " + w.other, true},
				{"remove another job's file", "rm -f " + w.other, true},
				{"make a file in another job", "touch " + filepath.Dir(w.other) + "/new", true},
				{"rename another job's directory", "mv " + w.repo + "/jobs/b " + w.repo + "/jobs/c", true},
				{"link another job's file", "ln " + w.other + " stolen && cat stolen", true},
				{"through a symlink", "ln -s " + w.other + " way && cat way", true},
				{"read the user's file", "cat " + w.home, true},
				{"write a given file", "echo x > " + w.dir + "/read/given", true},
				{"write into the system", "touch /usr/hypha-test", true},
				{"change the system's settings", "echo 1 > /proc/sys/vm/drop_caches", true},
				{"read the node's environment", "cat /proc/" + self + "/environ | grep -q .", true},
				{"through the node's root", "cat /proc/" + self + "/root" + w.other, true},
				{"through the node's directory", "ls /proc/" + self + "/cwd/", true},
				{"stop the node", "kill -0 " + self, p.UID || p.Landlock && abi >= 6},
				{"mount", "mount -t tmpfs none .", true},
				{"leave by namespaces", "unshare -Urm sh -c 'mount -t tmpfs none . && cat " + w.other + "'", true},
			}
			// One launch for all: each script says how it ended, and what it printed.
			args := []string{"/bin/sh", "-c", `for s; do out=$(/bin/sh -ec "$s" 2>&1); printf '%s\037%s\036' $? "$out"; done`, "sh"}
			for _, tc := range tests {
				args = append(args, tc.script)
			}
			ends := strings.Split(run(t, s, args...).out, "\x1e")
			if len(ends) != len(tests)+1 {
				t.Fatalf("%q", ends)
			}
			for i, tc := range tests {
				code, out, _ := strings.Cut(ends[i], "\x1f")
				// In a view the same path may hold something of its own.
				blind := p.View && strings.Contains(tc.script, w.repo) && !strings.Contains(out, "b\n") && !strings.Contains(out, "secret of "+w.repo)
				if done := code == "0"; done == tc.denied && (!tc.denied || !blind) {
					t.Errorf("%s: exit code %s:\n%s", tc.name, code, out)
				}
			}
			for _, f := range []string{w.other, w.home, w.repo + "/config", w.dir + "/read/given"} {
				if text, err := os.ReadFile(f); err != nil || string(text) != "secret of "+f {
					t.Errorf("%s: %q, %v", f, text, err)
				}
			}
		})
	}
}

// python runs the interpreter, wherever it is.
func python(t *testing.T, s Spec, args ...string) result {
	t.Helper()
	file, err := exec.LookPath("python3")
	must(t, err) // CI installs it
	s.ReadOnly = append(slices.Clone(s.ReadOnly), Around(file, s.Hidden, []string{os.Getenv("HOME")})...)
	return run(t, s, append([]string{file}, args...)...)
}

// TestPython runs the interpreter that executors are written for, with what
// they do: threads, processes, temporary files, a Unix socket.
func TestPython(t *testing.T) {
	script := `
import multiprocessing, os, socket, sys, tempfile, concurrent.futures
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); assert s.recv(9) == b"bridge"
with tempfile.NamedTemporaryFile() as f: f.write(b"x"); assert f.name.startswith(sys.argv[2]), f.name
def twice(n): return 2 * n
if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as p: assert p.map(twice, [1, 2]) == [2, 4]
    with concurrent.futures.ThreadPoolExecutor(2) as p: assert list(p.map(twice, [1])) == [2]
    open("out", "w").write(os.path.expanduser("~"))
    try: open(sys.argv[3]); print("read it"); sys.exit(5)
    except OSError: pass
    print("fine")
`
	for name, p := range plans(t) {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.spec(p, jobUID)
			r := python(t, s, "-c", script, w.socket, w.temp, w.other)
			if r.code != 0 || r.out != "fine\n" {
				t.Errorf("exit code %d:\n%s", r.code, r.out)
			}
		})
	}
}

// status returns a field of /proc/self/status as the command sees it.
func status(t *testing.T, s Spec, field string) string {
	t.Helper()
	r := run(t, s, "/bin/cat", "/proc/self/status")
	for line := range strings.Lines(r.out) {
		if value, ok := strings.CutPrefix(line, field+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("no %s in %q", field, r.out)
	return ""
}

// TestPrivileges: the command has no power, and nothing of this process.
func TestPrivileges(t *testing.T) {
	for name, p := range plans(t) {
		t.Run(name, func(t *testing.T) {
			uid := os.Getuid()
			if p.UID {
				uid = jobUID
			}
			w := newWorld(t)
			s := w.spec(p, jobUID)
			if got := status(t, s, "NoNewPrivs"); got != "1" {
				t.Errorf("no_new_privs is %s", got)
			}
			if got := strings.Fields(status(t, s, "Uid")); got[0] != strconv.Itoa(uid) || got[1] != got[0] || got[3] != got[0] {
				t.Errorf("users %v, want %d", got, uid)
			}
			keep := uint64(0)
			if uid == 0 {
				keep = rootKeeps
			}
			for _, set := range []string{"CapPrm", "CapEff", "CapInh", "CapAmb"} {
				got, err := strconv.ParseUint(status(t, s, set), 16, 64)
				must(t, err)
				if got&^keep != 0 {
					t.Errorf("%s is %x", set, got)
				}
			}
			if got := strings.Fields(run(t, s, "/bin/sh", "-c", "ulimit -Hc; ps -o sid= -p $$; echo $$").out); len(got) != 3 || got[0] != "0" || got[1] != got[2] {
				t.Errorf("core limit, session, process: %q", got)
			}
			if got := run(t, s, "/bin/ls", "/proc/self/fd").out; got != "0\n1\n2\n3\n" { // 3: the directory that it lists
				t.Errorf("descriptors %q", got)
			}
			if got := run(t, s, "/usr/bin/env").out; !strings.Contains(got, "PROBE=1\n") || strings.Contains(got, "order") {
				t.Errorf("environment %q", got)
			}
		})
	}
}

// TestView: the work directory at a path that an application has in it, and no
// network but its own.
func TestView(t *testing.T) {
	w := newWorld(t)
	s := w.spec(Plan{View: true}, 0)
	if f := Probe(t.Context(), "").Namespace; !f.OK {
		t.Skip(f.Reason)
	}
	s.WorkAt, s.HideNetwork = []string{"/golem/work"}, true
	r := run(t, s, "/bin/sh", "-c", "cat /golem/work/mine; echo new > /golem/work/made; cat made; ls /sys/class/net | wc -l; tail -n +3 /proc/net/dev | cut -d: -f1; ls /tmp/")
	if want := "secret of " + w.work + "/minenew\n0\n    lo\n"; !strings.HasPrefix(r.out, want) {
		t.Errorf("%q, want %q", r.out, want)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	dial := `import socket, sys
try: socket.create_connection(("127.0.0.1", int(sys.argv[1]))); print("through")
except ConnectionRefusedError: print("refused")
l = socket.create_server(("127.0.0.1", 0)); socket.create_connection(l.getsockname()); print("own")`
	if r := python(t, s, "-c", dial, port); r.out != "refused\nown\n" {
		t.Errorf("hidden network: %q", r.out)
	}
	s.HideNetwork = false
	if r := python(t, s, "-c", dial, port); r.out != "through\nown\n" {
		t.Errorf("shared network: %q", r.out)
	}
}

// TestTCP restricts ports.
func TestTCP(t *testing.T) {
	if r := Probe(t.Context(), ""); !r.Landlock.OK || r.LandlockABI < 4 {
		t.Skipf("Landlock ABI %d restricts no ports", r.LandlockABI)
	}
	w := newWorld(t)
	var ports []uint16
	for range 2 {
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
		must(t, err)
		defer l.Close()
		ports = append(ports, uint16(l.Addr().(*net.TCPAddr).Port))
	}
	s := w.spec(Plan{Landlock: true}, 0)
	s.TCP = &Ports{Connect: ports[:1]}
	script := fmt.Sprintf(`import socket
for port in %d, %d:
    try: socket.create_connection(("127.0.0.1", port)); print("through")
    except PermissionError: print("denied")
try: socket.create_server(("127.0.0.1", 0)); print("bound")
except PermissionError: print("denied")`, ports[0], ports[1])
	if r := python(t, s, "-c", script); r.out != "through\ndenied\ndenied\n" {
		t.Errorf("%q", r.out)
	}
}
