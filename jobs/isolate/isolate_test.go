package isolate

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseMode(t *testing.T) {
	for _, m := range Modes() {
		if got, err := ParseMode(string(m)); err != nil || got != m {
			t.Errorf("%q: %q, %v", m, got, err)
		}
	}
	if got, err := ParseMode(""); err != nil || got != Auto {
		t.Errorf("nothing: %q, %v", got, err)
	}
	for _, s := range []string{"Landlock", "none ", "strict", "\x00"} {
		if got, err := ParseMode(s); !errors.Is(err, ErrMode) {
			t.Errorf("%q: %q, %v", s, got, err)
		}
	}
}

func TestPlan(t *testing.T) {
	yes, no := Finding{OK: true}, Finding{Reason: "because"}
	all := Report{Landlock: yes, Namespace: yes, UID: yes}
	for _, tc := range []struct {
		name   string
		report Report
		mode   Mode
		uid    bool
		want   string // "" : ErrUnavailable
		lacks  string
	}{
		{"all", all, Auto, false, "landlock", ""},
		{"all, with users", all, Auto, true, "uid+namespace+landlock", ""},
		{"all, required", all, Require, false, "landlock", ""},
		{"all, none asked for", all, None, true, "none", ""},
		{"all, landlock", all, Landlock, false, "landlock", ""},
		{"all, namespace", all, Namespace, false, "namespace+landlock", ""},
		{"no landlock", Report{Landlock: no, Namespace: yes}, Auto, false, "namespace", "landlock: because"},
		{"no landlock, required", Report{Landlock: no, Namespace: yes}, Require, false, "namespace", "landlock: because"},
		{"no landlock, but asked for", Report{Landlock: no, Namespace: yes, UID: yes}, Landlock, true, "", "landlock: because"},
		{"no landlock, with users", Report{Landlock: no, Namespace: yes, UID: yes}, Auto, true, "uid+namespace", "landlock: because"},
		{"no namespace", Report{Landlock: yes, Namespace: no}, Auto, false, "landlock", ""},
		{"no namespace, but asked for", Report{Landlock: yes, Namespace: no}, Namespace, false, "", "namespace: because"},
		{"no users", Report{Landlock: yes, Namespace: yes, UID: no}, Auto, true, "landlock", "uid: because"},
		{"nothing", Report{Landlock: no, Namespace: no, UID: no}, Auto, true, "none", "landlock: because; uid: because; namespace: because"},
		{"nothing, required", Report{Landlock: no, Namespace: no, UID: no}, Require, false, "", "landlock: because; namespace: because"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, lacks, err := tc.report.Plan(tc.mode, tc.uid)
			if tc.want == "" {
				if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "because") || p.Confines() {
					t.Errorf("%v, %v", p, err)
				}
			} else if err != nil || p.String() != tc.want {
				t.Errorf("%v, %v, want %s", p, err, tc.want)
			}
			if lacks != tc.lacks {
				t.Errorf("lacks %q, want %q", lacks, tc.lacks)
			}
		})
	}
}

// tree makes files with their directories; a name with an arrow is a symlink.
func tree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		err := error(nil)
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			err = os.Symlink(strings.ReplaceAll(target, "$", dir), path)
		} else {
			err = os.WriteFile(path, []byte(strings.ReplaceAll(text, "$", dir)), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestAround(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	tree(t, dir, map[string]string{
		"home/train.py":        "print()",
		"home/project/main.py": "#!$/home/venv/bin/python -u\n",
		"home/venv/pyvenv.cfg": "", "home/venv/bin/python": "-> ../../py/bin/python3",
		"home/py/lib/x": "", "home/py/bin/python3": "binary",
		"home/vm/shims/python3": "#!/bin/sh\n", "home/vm/versions/3/bin/python3": "binary",
		"home/repo/jobs/a/prog": "#!/bin/sh\n",
		"home/loop/a":           "-> b", "home/loop/b": "-> a",
		"home/to/repo": "-> $/home/repo/jobs/a/prog",
		"home/bad/a":   "#!relative\n", "home/bad/b": "#!\n", "home/bad/c": "#! " + strings.Repeat("/x", 200) + "\n", "home/bad/d": "",
	})
	home := dir + "/home"
	for name, want := range map[string][]string{
		"train.py":         {home + "/train.py"},
		"project/main.py":  {home + "/project", home + "/venv", home + "/py"},
		"venv/bin/python":  {home + "/venv", home + "/py"},
		"vm/shims/python3": {home + "/vm", "/bin"},
		"repo/jobs/a/prog": {"/bin"},
		"to/repo":          {home + "/to", "/bin"},
		"loop/a":           {home + "/loop"},
		"bad/a":            {home + "/bad"}, "bad/b": {home + "/bad"}, "bad/c": {home + "/bad"}, "bad/d": {home + "/bad"},
		"nothing": nil,
	} {
		got := Around(filepath.Join(home, name), []string{home + "/repo"}, []string{home})
		for i := range got {
			if got[i] == "/usr/bin" { // where /bin/sh leads to is the system's affair
				got = got[:i]
				break
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if got := Around("relative", nil, nil); got != nil {
		t.Errorf("%q", got)
	}
	if got := Around("/dev/null", nil, nil); !cmp.Equal(got, []string(nil)) && !cmp.Equal(got, []string{"/dev/null"}) {
		t.Errorf("%q", got)
	}
}

func TestWithout(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	tree(t, dir, map[string]string{"opt/a": "", "opt/b/c": "", "opt/b/repo/x": "", "opt/d": "-> b/repo", "opt/dead": "-> nothing", "other": "-> opt"})
	hidden := []string{dir + "/opt/b/repo"}
	for p, want := range map[string][]string{
		"/opt":   {dir + "/opt/a", dir + "/opt/b/c"},
		"/other": {dir + "/opt/a", dir + "/opt/b/c"},
		"/opt/a": {dir + "/opt/a"}, "/opt/b/repo": nil, "/opt/d": nil, "/opt/b/repo/x": nil,
	} {
		got, err := without(dir+p, hidden)
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%s: %v %s", p, err, d)
		}
	}
	if _, err := without(dir+"/nothing", hidden); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

func TestEnviron(t *testing.T) {
	s := Spec{WorkDir: "/w", TempDir: "/t", ReadOnly: []string{"/home/me"}, ReadWrite: []string{"/scratch"}}
	for _, tc := range []struct{ name, env, want string }{
		{"nothing", "", "TMPDIR=/t HOME=/w"},
		{"what it can't use", "A=b HOME=/root TMPDIR=/tmp TMP=/tmp TEMP=/x", "A=b TMPDIR=/t HOME=/w"},
		{"what it can use", "HOME=/home/me TMPDIR=/scratch/x TMP=/t", "HOME=/home/me TMPDIR=/scratch/x TMP=/t"},
		{"a readable directory is none for temporary files", "TMPDIR=/home/me", "TMPDIR=/t HOME=/w"},
		{"the last one counts", "HOME=/w HOME=/root", "TMPDIR=/t HOME=/w"},
		{"out by dots", "HOME=/w/../x", "TMPDIR=/t HOME=/w"},
	} {
		if got := strings.Join(s.environ(strings.Fields(tc.env)), " "); got != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
	if got := (Spec{WorkDir: "/w"}).environ([]string{"TMPDIR=/tmp"}); !cmp.Equal(got, []string{"HOME=/w"}) {
		t.Errorf("%q", got)
	}
}

func TestOutcome(t *testing.T) {
	for _, err := range []error{syscall.ENOENT, &Error{Step: "mount /x", Err: syscall.EPERM}, &Error{Step: "x", Err: errors.New("y")}} {
		got := outcomeOf(err).error("/prog", true)
		if errno, ok := errors.AsType[syscall.Errno](err); ok && !errors.Is(got, errno) {
			t.Errorf("%v became %v", err, got)
		}
		if e := (*Error)(nil); errors.As(err, &e) && got.Error() != err.Error() {
			t.Errorf("%v became %v", err, got)
		}
	}
	if err := readOutcome(nil, "/prog", true); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"x", "{", "null null", "panic: something"} {
		if e := (*Error)(nil); !errors.As(readOutcome([]byte(text), "/prog", true), &e) {
			t.Errorf("%q", text)
		}
	}
}
