package jobs

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/jobs/isolate"
)

// prober is a program that tries what it is told and prints how that went: the
// status that a socket answers, or whether a file could be read.
const prober = `
import http.client, os, socket, subprocess, sys
def ask(path):
    c = http.client.HTTPConnection("job")
    c.sock = socket.socket(socket.AF_UNIX)
    try: c.sock.connect(path)
    except OSError as e: return "unreachable"
    c.request("GET", "/job")
    return c.getresponse().status
def read(path):
    try: return "read " + open(path).read()
    except OSError: return "denied"
for arg in sys.argv[1:]:
    kind, _, path = arg.partition(":")
    if kind == "child": print("child", subprocess.run([sys.executable, "-c", open("prober").read(), "ask:" + path], capture_output=True, text=True, start_new_session=True).stdout.strip(), flush=True)
    else: print(ask(path) if kind == "ask" else read(path), flush=True)
`

// modes returns the modes that can be had here.
func modes(t *testing.T) []isolate.Mode {
	t.Helper()
	var have []isolate.Mode
	for _, m := range []isolate.Mode{isolate.Landlock, isolate.Namespace} {
		if _, _, err := isolate.Choose(t.Context(), m, ""); err != nil {
			t.Logf("not tested here: %v", err)
			continue
		}
		have = append(have, m)
	}
	return have
}

// TestIsolation: an isolated command has its own work directory and socket, and
// neither those of others nor the repository.
func TestIsolation(t *testing.T) {
	for _, mode := range modes(t) {
		t.Run(string(mode), func(t *testing.T) {
			s := newSite(t, bridgetest.Options{})
			repo := filepath.Dir(s.dir)
			sup, _ := s.serving(t, func(c *Config) { c.Walls = Walls{Default: mode, Hidden: []string{repo}} })
			attached := create(t, sup, Spec{})
			other := create(t, sup, Spec{Command: &Program{Args: []string{"/bin/sleep", "600"}}})
			awaitState(t, sup, other.ID, StateRunning)
			for _, name := range []string{filepath.Join(attached.WorkDir, "secret"), filepath.Join(other.WorkDir, "secret"), filepath.Join(repo, "secret")} {
				if err := os.WriteFile(name, []byte("secret"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			unreachable := map[isolate.Mode]string{isolate.Landlock: "403", isolate.Namespace: "unreachable"}[mode]
			args := []string{
				"ask:{SOCKET_PATH}", "child:{SOCKET_PATH}", "read:prober", "read:{WORK_DIR}/mine",
				"ask:" + attached.Socket, "ask:" + other.Socket,
				"read:" + attached.WorkDir + "/secret", "read:" + other.WorkDir + "/secret", "read:" + repo + "/secret",
			}
			want := []string{"200", "child 200", "read " + prober, "read x", unreachable, unreachable, "denied", "denied", "denied"}
			job := create(t, sup, Spec{Keep: KeepAlways, Command: &Program{
				Args: append([]string{"/bin/sh", "-c", `echo -n x >mine; printf %s "$PROBER" >prober; exec python3 prober "$@"`, "sh"}, args...),
				Env:  map[string]string{"PROBER": prober},
			}})
			done := awaitState(t, sup, job.ID)
			if done.State != StateFinished || !strings.Contains(done.Isolation, string(mode)) {
				t.Errorf("%+v: %s", done, logs(t, sup, job.ID, Stderr))
			}
			if got := logs(t, sup, job.ID, Stdout); got != strings.Join(want, "\n")+"\n" {
				t.Errorf("%s\nwant %q", got, want)
			}
			if _, err := os.Lstat(tempOf(job.Socket)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("its temporary directory stays: %v", err)
			}
			if _, err := sup.Stop(t.Context(), other.ID); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestUsers: a command of a node that runs as root has a user of its own, to whom
// the work directory belongs as it does to the node, and its socket answers.
func TestUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to be another user")
	}
	s := newSite(t, bridgetest.Options{})
	repo := filepath.Dir(s.dir)
	if f := isolate.Probe(t.Context(), filepath.Dir(repo)).UID; !f.OK {
		t.Skip(f.Reason)
	}
	users := Users{First: 71000, Count: 2, Dir: filepath.Join(repo, "users")}
	sup, _ := s.serving(t, func(c *Config) { c.Walls = Walls{Default: isolate.Auto, Hidden: []string{repo}, Users: users} })
	lasting := Spec{Command: &Program{Args: []string{"/bin/sh", "-c", "echo x . >started; exec sleep 600"}}}
	first := create(t, sup, lasting)
	waitFile(t, filepath.Join(first.WorkDir, "started"))
	if err := os.WriteFile(filepath.Join(first.WorkDir, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	job := create(t, sup, Spec{Keep: KeepAlways, Command: &Program{
		Args: []string{
			"/bin/sh", "-c", `id -u; echo x >mine; stat -c %u mine "$JOB_FILE" "$SOCKET_PATH"; printf %s "$PROBER" >prober; exec python3 prober "$@"`, "sh",
			"ask:{SOCKET_PATH}", "child:{SOCKET_PATH}", "ask:" + first.Socket, "read:" + first.WorkDir + "/secret",
		},
		Env: map[string]string{"PROBER": prober},
	}})
	done := awaitState(t, sup, job.ID)
	want := "71001\n71001\n71001\n71001\n200\nchild 200\nunreachable\ndenied\n"
	if got := logs(t, sup, job.ID, Stdout); got != want || !strings.HasPrefix(done.Isolation, "uid+namespace") {
		t.Errorf("%+v\n%s%s", done, got, logs(t, sup, job.ID, Stderr))
	}
	if info, err := os.Stat(filepath.Join(job.WorkDir, "mine")); err != nil || !ownedByUs(info) {
		t.Errorf("%v, %v: what the command made is not the node's", info, err)
	}
	third := create(t, sup, lasting)
	waitFile(t, filepath.Join(third.WorkDir, "started"))
	fourth := create(t, sup, Spec{Command: &Program{Args: []string{"true"}}})
	if done := awaitState(t, sup, fourth.ID); done.State != StateFailed || !strings.Contains(done.Error, "users for jobs are taken") {
		t.Errorf("without a user: %+v", done)
	}
	for _, id := range []string{first.ID, third.ID} {
		if _, err := sup.Stop(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
}

// TestCallers: who is not confined may use the sockets of jobs that somebody
// else runs, and no socket of a command that the node runs; root may.
func TestCallers(t *testing.T) {
	s := newSite(t, bridgetest.Options{})
	sup, _ := s.serving(t, nil)
	attached := create(t, sup, Spec{})
	other := create(t, sup, Spec{Command: &Program{Args: []string{"/bin/sleep", "600"}}})
	awaitState(t, sup, other.ID, StateRunning)
	out, err := exec.CommandContext(t.Context(), "python3", "-c", prober, "ask:"+attached.Socket, "ask:"+other.Socket).Output()
	want := "200\n403\n"
	if os.Geteuid() == 0 {
		want = "200\n200\n"
	}
	if err != nil || string(out) != want {
		t.Errorf("%q, %v, want %q", out, err, want)
	}
	if _, err := sup.Stop(t.Context(), other.ID); err != nil {
		t.Error(err)
	}
}

// TestMarkedJob: a confined command that somebody else runs is known by the mark
// of its job, and is nobody to other jobs.
func TestMarkedJob(t *testing.T) {
	for _, mode := range modes(t) {
		t.Run(string(mode), func(t *testing.T) {
			s := newSite(t, bridgetest.Options{})
			sup, _ := s.serving(t, nil)
			mark := NewMark()
			mine, other := create(t, sup, Spec{Mark: mark}), create(t, sup, Spec{})
			var out strings.Builder
			exit, err := Run(t.Context(), mine, Command{
				Args: []string{"python3", "-c", prober, "ask:" + mine.Socket, "ask:" + other.Socket}, Env: []string{"PATH=/usr/bin:/bin"},
				Stdout: &out, Stderr: os.Stderr, Mark: mark, Isolation: Isolation{Mode: mode, Read: []string{filepath.Dir(other.Socket)}},
			})
			if err != nil || exit.Code != 0 || out.String() != "200\n403\n" {
				t.Errorf("%+v, %v: %q", exit, err, out.String())
			}
		})
	}
}

// TestNoSecretInArguments: nothing secret of a job is in the command line of any
// process, where everybody can read it.
func TestNoSecretInArguments(t *testing.T) {
	const token = "hf_TheTokenThatNobodyMaySee"
	for _, mode := range append(modes(t), isolate.None) {
		t.Run(string(mode), func(t *testing.T) {
			s := newSite(t, bridgetest.Options{})
			sup, _ := s.serving(t, nil)
			// The command looks itself, while all that belongs to it runs.
			job := create(t, sup, Spec{Secret: token, Command: &Program{
				Args: []string{"python3", "-c", `
import glob, os, sys
token = "hf_" + "TheTokenThat" + "NobodyMaySee"
assert token in open(os.environ["JOB_FILE"]).read()
seen = [p for p in glob.glob("/proc/[0-9]*/cmdline") if os.path.exists(p) and token.encode() in open(p, "rb").read()]
print(seen, len(glob.glob("/proc/[0-9]*/cmdline")) > 1)`},
				Config:    json.RawMessage(`{"model":{"artifact":{"token":"` + token + `"}}}`),
				Isolation: Isolation{Mode: mode},
			}, Keep: KeepAlways})
			done := awaitState(t, sup, job.ID)
			if got := logs(t, sup, job.ID, Stdout); done.State != StateFinished || got != "[] True\n" {
				t.Errorf("%s %s: %s %s", done.State, done.Error, got, logs(t, sup, job.ID, Stderr))
			}
		})
	}
}

// TestSecretRefused: a configuration with a secret is not put into an argument.
func TestSecretRefused(t *testing.T) {
	s := newSite(t, bridgetest.Options{})
	sup, _ := s.serving(t, nil)
	job := create(t, sup, Spec{Command: &Program{
		Args: []string{"/bin/echo", "--job={JOB_JSON}"}, Config: json.RawMessage(`{"data":[{"a":1},{"Api-Key":"x"}]}`),
	}})
	done := awaitState(t, sup, job.ID)
	if done.State != StateFailed || !strings.Contains(done.Error, "data[1].Api-Key") || !strings.Contains(done.Error, "{JOB_FILE}") {
		t.Errorf("%+v", done)
	}
}

// TestIsolationRefused: what can't be had is not done without.
func TestIsolationRefused(t *testing.T) {
	s := newSite(t, bridgetest.Options{})
	sup, _ := s.serving(t, nil)
	for name, i := range map[string]Isolation{
		"no such mode":                    {Mode: "strict"},
		"a relative path":                 {Mode: isolate.Auto, Read: []string{"etc"}},
		"a hidden network without a view": {Mode: isolate.Landlock, HideNetwork: true},
		"another path without a view":     {WorkAt: []string{"/golem/work"}},
		"a path with a zero byte":         {Write: []string{"/a\x00b"}},
	} {
		if _, err := sup.Create(t.Context(), Spec{Command: &Program{Args: []string{"true"}, Isolation: i}}); !errors.Is(err, ErrSpec) {
			t.Errorf("%s: %v", name, err)
		}
	}
	job := create(t, sup, Spec{Command: &Program{Args: []string{"true"}, Isolation: Isolation{Mode: isolate.Require, Read: []string{"/no/such/path"}}}})
	if done := awaitState(t, sup, job.ID); done.State != StateFailed || !strings.Contains(done.Error, "/no/such/path") {
		t.Errorf("%+v", done)
	}
}
