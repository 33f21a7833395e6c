package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hypha-node/hypha-node/jobs/isolate"
)

func TestMain(m *testing.M) {
	// A probe or a job's command is this program under no name that testscript knows.
	if code, ours := isolate.Enter(os.Args); ours {
		syscall.Exit(code) // as os.Exit, without the second that it takes under -race
	}
	testscript.Main(m, map[string]func(){"hypha-node": main})
}

// TestScripts runs what users type, in testdata/script. Besides testscript's
// own commands there are:
//
//	code N PROGRAM ARG…         the program must exit with this very code
//	capture NAME REGEXP         sets a variable from the standard output before
//	daemon start NAME ARG…      starts a daemon with the repository $WORK/NAME and waits until it is ready;
//	                            sets NAME_ADDR and NAME_ID
//	daemon stop|kill NAME       SIGTERM, exit code 0 · SIGKILL; waits for the end
//	origin DIR                  serves a directory over HTTP on loopback, sets ORIGIN
//	origin requests N           how many requests there have been since the last look
//	hub DIR                     serves DIR/owner/name as models of a Hub, sets HF_ENDPOINT
//	hub private DIR             the same for those who have the token "secret"
//	post SOCKET PATH FILE       posts a file to a Unix socket and prints the answer; fails unless it is 200
//	text FILE TEXT              makes a file without a newline at its end
//	random FILE BYTES SEED      makes a file
//	save FILE PROGRAM ARG…      what a program prints goes into a file; exec would quote it in the log
//	await FILE REGEXP           waits until a file that somebody writes matches
//	same A B                    equal content
//	mode MODE PATH…             permissions, octal
//	signal NAME REGEXP PROGRAM… runs a program, sends it the signal when its output matches, prints the output
//	                            and "exit code N"; with "origin" for REGEXP, when it has asked the origin
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Vars = append(env.Vars,
				"HYPHA_REPO="+filepath.Join(env.WorkDir, "repo"),
				"HF_ENDPOINT=http://127.0.0.1:1", // nobody: no script ever leaves this machine
				"HF_HOME="+filepath.Join(env.WorkDir, "hf"),
				"NO_PROXY=127.0.0.1",
				"TZ=UTC",
				"GORACE="+os.Getenv("GORACE"), // the scripts' hypha-node is this very program
				"CID_HELLO=bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e", // of "hello world"
				"CID_NOBODY=bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy",
			)
			env.Values[stateKey{}] = &scriptState{daemons: map[string]*background{}, hit: make(chan struct{}, 1)}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": cmdCode, "capture": cmdCapture, "daemon": cmdDaemon, "origin": cmdOrigin, "hub": cmdHub,
			"post": cmdPost, "random": cmdRandom, "save": cmdSave, "text": cmdText, "same": cmdSame, "mode": cmdMode, "signal": cmdSignal, "await": cmdAwait,
		},
		Condition:           haveMode,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// haveMode tells whether this machine has a mode of isolation: the conditions
// [landlock], [namespace] and [require].
func haveMode(name string) (bool, error) {
	mode, err := isolate.ParseMode(name)
	if err != nil {
		return false, err
	}
	_, _, err = isolate.Choose(context.Background(), mode, "")
	return err == nil, nil
}

// need ends a script that uses a command wrongly.
func need(ts *testscript.TestScript, neg, ok bool, usage string) {
	if neg || !ok {
		ts.Fatalf("usage: %s", usage)
	}
}

func cmdCode(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) >= 2, "code N PROGRAM ARG…")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		ee, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = ee.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func cmdCapture(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) == 2, "capture NAME REGEXP")
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	m := re.FindStringSubmatch(ts.ReadFile("stdout"))
	if m == nil {
		ts.Fatalf("standard output does not match %s", re)
	}
	ts.Setenv(args[0], m[len(m)-1])
}

func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) == 2, "await FILE REGEXP")
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	late := time.NewTimer(safetyNet)
	defer late.Stop()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && re.Match(text) {
			return
		}
		select {
		case <-look.C:
		case <-late.C:
			ts.Fatalf("%s does not match %s: %v\n%s", args[0], re, err, text)
		}
	}
}

func cmdRandom(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) == 3, "random FILE BYTES SEED")
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	_, err = io.CopyN(f, stream(args[2]), int64(size))
	ts.Check(errors.Join(err, f.Close()))
}

func cmdSave(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) >= 2, "save FILE PROGRAM ARG…")
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	cmd := program(ts, args[1:]...)
	cmd.Stdout, cmd.Stderr = f, ts.Stderr()
	err = cmd.Run()
	ts.Check(errors.Join(err, f.Close()))
}

func cmdText(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) == 2, "text FILE TEXT")
	ts.Check(os.MkdirAll(filepath.Dir(ts.MkAbs(args[0])), 0o777))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(args[1]), 0o666))
}

func cmdSame(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, false, len(args) == 2, "[!] same A B")
	a, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	b, err := os.ReadFile(ts.MkAbs(args[1]))
	ts.Check(err)
	if same := string(a) == string(b); same == neg {
		ts.Fatalf("same content: %v", same)
	}
}

func cmdMode(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) >= 2, "mode MODE PATH…")
	want, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	for _, name := range args[1:] {
		info, err := os.Lstat(ts.MkAbs(name))
		ts.Check(err)
		if got := info.Mode().Perm(); got != os.FileMode(want) {
			ts.Fatalf("%s has mode %o, want %o", name, got, want)
		}
	}
}

// environ returns the variables of a script that programs need.
func environ(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "HYPHA_REPO", "HF_ENDPOINT", "HF_HOME", "HF_TOKEN", "NO_PROXY", "TZ", "GOCOVERDIR", "GORACE"} {
		if value := ts.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// program returns a command of a script, not started.
func program(ts *testscript.TestScript, args ...string) *exec.Cmd {
	path := args[0]
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		full := filepath.Join(dir, args[0])
		if info, err := os.Stat(full); err == nil && info.Mode()&0o111 != 0 {
			path = full
			break
		}
	}
	cmd := exec.Command(path, args[1:]...) //nolint:noctx // it is ended by the script, with a signal of its own
	cmd.Env, cmd.Dir = environ(ts), ts.MkAbs(".")
	return cmd
}

// exitCode returns how a program ended.
func exitCode(err error) string {
	if ee, ok := errors.AsType[*exec.ExitError](err); ok {
		if ee.Exited() {
			return fmt.Sprintf("exit code %d", ee.ExitCode())
		}
		return ee.Error()
	}
	if err != nil {
		return err.Error()
	}
	return "exit code 0"
}

// variable makes a variable's name of a repository's.
func variable(name string) string { return strings.ToUpper(name) }
