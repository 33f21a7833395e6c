package main

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// safetyNet ends what should have ended long before.
const safetyNet = 60 * time.Second

// background is a program that runs beside a script.
type background struct {
	cmd    *exec.Cmd
	output *watched
	done   chan struct{} // closed when it has ended
	err    error         // valid after done
}

// watched keeps output and tells when it first matches.
type watched struct {
	mu   sync.Mutex
	text bytes.Buffer
	re   *regexp.Regexp
	hit  chan []string // gets the first match
}

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(b)
	if w.re != nil {
		if m := w.re.FindStringSubmatch(w.text.String()); m != nil {
			w.re = nil
			w.hit <- m
		}
	}
	return len(b), nil
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// start starts a program and returns when its output has matched or, with the
// pattern "origin", when an origin was asked.
func start(ts *testscript.TestScript, pattern string, args ...string) (*background, []string) {
	re, err := regexp.Compile("(?m)" + pattern)
	ts.Check(err)
	b := &background{cmd: program(ts, args...), output: &watched{re: re, hit: make(chan []string, 1)}, done: make(chan struct{})}
	b.cmd.Stdout, b.cmd.Stderr = b.output, b.output
	ts.Check(b.cmd.Start())
	go func() {
		defer close(b.done)
		b.err = b.cmd.Wait()
	}()
	ts.Defer(func() {
		select {
		case <-b.done:
		default:
			_ = b.cmd.Process.Kill()
			<-b.done
		}
		ts.Logf("[%s]\n%s", strings.Join(args, " "), b.output)
	})
	var asked chan struct{}
	if pattern == "origin" {
		asked = state(ts).hit
	}
	net := time.NewTimer(safetyNet)
	defer net.Stop()
	select {
	case m := <-b.output.hit:
		return b, m
	case <-asked:
		return b, nil
	case <-b.done:
		select {
		case m := <-b.output.hit:
			return b, m
		default:
		}
		ts.Fatalf("%q ended before its output matched %s: %v\n%s", args, pattern, b.err, b.output)
	case <-net.C:
		ts.Fatalf("%q: output does not match %s\n%s", args, pattern, b.output)
	}
	return nil, nil
}

// end sends a signal and waits until the program is gone.
func (b *background) end(ts *testscript.TestScript, s os.Signal) {
	ts.Check(b.cmd.Process.Signal(s))
	net := time.NewTimer(safetyNet)
	defer net.Stop()
	select {
	case <-b.done:
	case <-net.C:
		ts.Fatalf("%q does not end\n%s", b.cmd.Args, b.output)
	}
}

// scriptState is what the commands of one script share.
type scriptState struct {
	daemons  map[string]*background
	requests atomic.Int64  // that origins had
	hit      chan struct{} // an origin was asked
}

// stateKey is where a script keeps its state.
type stateKey struct{}

// state returns the state of a script.
func state(ts *testscript.TestScript) *scriptState {
	s, ok := ts.Value(stateKey{}).(*scriptState)
	if !ok {
		ts.Fatalf("the script has no state")
	}
	return s
}

func cmdDaemon(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) >= 2, "daemon start|stop|kill NAME ARG…")
	name := args[1]
	all := state(ts).daemons
	switch args[0] {
	case "start":
		line := append([]string{"hypha-node", "--repo", ts.MkAbs(name), "daemon", "--listen", "/ip4/127.0.0.1/tcp/0"}, args[2:]...)
		b, m := start(ts, `^daemon ready: (?:offline|peer (\S+), listening on (\S+))`, line...)
		all[name] = b
		ts.Setenv(variable(name)+"_ID", m[1])
		ts.Setenv(variable(name)+"_ADDR", m[2])
	case "stop":
		all[name].end(ts, syscall.SIGTERM)
		if got := exitCode(all[name].err); got != "exit code 0" {
			ts.Fatalf("daemon %s: %s\n%s", name, got, all[name].output)
		}
	case "kill":
		all[name].end(ts, syscall.SIGKILL)
	default:
		ts.Fatalf("daemon %s?", args[0])
	}
}

func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) >= 3, "signal NAME REGEXP PROGRAM ARG…")
	s := map[string]os.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM}[args[0]]
	if s == nil {
		ts.Fatalf("signal %s?", args[0])
	}
	b, _ := start(ts, args[1], args[2:]...)
	b.end(ts, s)
	lines := bufio.NewScanner(strings.NewReader(b.output.String()))
	for lines.Scan() {
		_, err := io.WriteString(ts.Stdout(), lines.Text()+"\n")
		ts.Check(err)
	}
	_, err := io.WriteString(ts.Stdout(), exitCode(b.err)+"\n")
	ts.Check(err)
}
