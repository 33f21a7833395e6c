package main

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/hypha-node/hypha-node/api/control"
)

// terminal opens a pseudo terminal of 100 columns and returns the side that a
// program has. What the program writes is in screen.
func terminal(t *testing.T) (tty *os.File, screen *watched) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 100})
	}
	if err == nil {
		tty, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	}
	if err != nil {
		t.Fatal(errors.Join(err, master.Close()))
	}
	screen = &watched{}
	ended := make(chan struct{})
	go func() { // ends when nobody has the other side open any more
		defer close(ended)
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			if err != nil {
				return
			}
			if _, err := screen.Write(b[:n]); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		if err := errors.Join(tty.Close(), master.Close()); err != nil {
			t.Error(err)
		}
		<-ended
	})
	return tty, screen
}

// shows waits until the screen has shown a text.
func (w *watched) shows(t *testing.T, text string) {
	t.Helper()
	deadline := time.NewTimer(safetyNet)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(w.String(), text) {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("the screen does not show %q:\n%q", text, w)
		}
	}
}

// TestBars draws a file under way, prints a finished one above it, and leaves
// nothing but the results behind.
func TestBars(t *testing.T) {
	tty, screen := terminal(t)
	a := &app{stdin: tty, stdout: tty, stderr: tty}
	a.out = newOutput(tty, false)
	b := a.newBars()
	if b == nil {
		t.Fatal("no bars on a terminal")
	}
	long := "a/very/long/path/of/a/repository/model-00001-of-00002.safetensors"
	b.update(control.Progress{Path: long, Done: 1 << 20, Total: 4 << 20, From: "origin"})
	b.update(control.Progress{Path: "un\x1b[31mknown", Done: 7 << 10})
	screen.shows(t, "1.00 MiB / 4.00 MiB")
	screen.shows(t, "━")
	screen.shows(t, "from origin")
	screen.shows(t, "…")
	screen.shows(t, `un\x1b[31mknown`)
	screen.shows(t, "7.00 KiB")
	screen.shows(t, "total")
	screen.shows(t, "1.01 MiB / 4.01 MiB")
	b.update(control.Progress{Path: long, Done: 3 << 20, Total: 4 << 20, From: "origin"})
	screen.shows(t, "3.00 MiB / 4.00 MiB")
	screen.shows(t, "iB/s")
	screen.shows(t, "3.01 MiB / 4.01 MiB")
	b.update(control.Progress{Path: long, Done: 3 << 20, Total: 4 << 20, From: "cache"})
	screen.shows(t, "from cache")
	b.done(long)
	b.update(control.Progress{Path: "third", Done: 0, Total: 1 << 20})
	screen.shows(t, "4.01 MiB / 5.01 MiB")
	if err := a.out.line("%s", "finished"); err != nil {
		t.Fatal(err)
	}
	b.close()
	if err := a.out.line("%s", "the end"); err != nil {
		t.Fatal(err)
	}
	screen.shows(t, "the end")
	all := screen.String()
	rest := all[strings.LastIndex(all, "\x1b[J")+3:]
	if strings.Contains(rest, "━") || !strings.Contains(all, "finished\r\n") {
		t.Errorf("what is left on the screen: %q", rest)
	}
}

// TestNoBars: nothing is drawn where nobody looks.
func TestNoBars(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	defer write.Close()
	tty, _ := terminal(t)
	for name, a := range map[string]*app{
		"no terminal": {stderr: write, stdout: tty},
		"JSON":        {stderr: tty, stdout: tty, cli: cli{JSON: true}},
		"quiet":       {stderr: tty, stdout: tty, quiet: true},
	} {
		if b := a.newBars(); b != nil {
			b.close()
			t.Errorf("%s: bars", name)
		}
	}
	var none *bars
	none.update(control.Progress{})
	none.done("x")
	none.close()
}

// TestProgressEvents: with --json --progress there are lines of progress between
// those of results, told apart by a field; without --json there are none.
func TestProgressEvents(t *testing.T) {
	for name, tt := range map[string]struct {
		json, events bool
		want         string
	}{
		"events":  {true, true, `{"event":"progress","path":"f","done":1,"total":2,"from":"origin"}` + "\n" + `{"path":"f"}` + "\n"},
		"JSON":    {true, false, `{"path":"f"}` + "\n"},
		"no JSON": {false, true, "f\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var text strings.Builder
			_, write, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer write.Close()
			a := &app{cli: cli{JSON: tt.json}, events: tt.events, stdout: write, stderr: write, out: newOutput(&text, tt.json)}
			p := a.newProgress()
			at := control.Progress{Path: "f", Done: 1, Total: 2, From: "origin"}
			err = errors.Join(p.update(at), p.update(at)) // the second comes too soon
			if tt.json {
				err = errors.Join(err, p.done("f", func() error { return a.out.print(map[string]string{"path": "f"}, "") }))
			} else {
				err = errors.Join(err, p.done("f", func() error { return a.out.line("f") }))
			}
			p.close()
			if err := errors.Join(err, p.update(at)); err != nil || text.String() != tt.want {
				t.Errorf("%q, %v, want %q", text.String(), err, tt.want)
			}
		})
	}
}
