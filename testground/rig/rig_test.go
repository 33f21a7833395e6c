package rig

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRandomFollowsFromTheSeed(t *testing.T) {
	read := func(seed uint64, n int64) []byte {
		b, err := io.ReadAll(Random(seed, n))
		if err != nil || int64(len(b)) != n {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		return b
	}
	if !bytes.Equal(read(1, 5000), read(1, 9000)[:5000]) {
		t.Error("the same seed gives other bytes")
	}
	if bytes.Equal(read(1, 64), read(2, 64)) {
		t.Error("two seeds give the same bytes")
	}
	name := filepath.Join(t.TempDir(), "f")
	sum, err := WriteRandom(name, 1, 3<<20+1)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := HashFile(name); err != nil || again != sum {
		t.Errorf("file has %s (%v), written was %s", again, err, sum)
	}
}

func TestSameTreeFindsDifferences(t *testing.T) {
	make := func(change func(dir string) error) string {
		t.Helper()
		dir := t.TempDir()
		if err := errors.Join(
			os.Mkdir(filepath.Join(dir, "d"), 0o700),
			os.WriteFile(filepath.Join(dir, "d", "f"), bytes.Repeat([]byte("x"), 300<<10), 0o600),
			os.Symlink("d/f", filepath.Join(dir, "l")),
			change(dir),
		); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	plain := make(func(string) error { return nil })
	for _, tc := range []struct {
		name   string
		change func(dir string) error
		want   string // in the error; "" for equal trees
	}{
		{"equal", func(string) error { return nil }, ""},
		{"more", func(d string) error { return os.WriteFile(filepath.Join(d, "z"), nil, 0o600) }, "only one"},
		{"less", func(d string) error { return os.Remove(filepath.Join(d, "l")) }, "only one"},
		{"type", func(d string) error {
			return errors.Join(os.Remove(filepath.Join(d, "l")), os.Mkdir(filepath.Join(d, "l"), 0o700))
		}, "type"},
		{"target", func(d string) error {
			return errors.Join(os.Remove(filepath.Join(d, "l")), os.Symlink("d", filepath.Join(d, "l")))
		}, "symlink"},
		{"last byte", func(d string) error {
			return os.WriteFile(filepath.Join(d, "d", "f"), append(bytes.Repeat([]byte("x"), 300<<10-1), 'y'), 0o600)
		}, "contents"},
		{"length", func(d string) error {
			return os.WriteFile(filepath.Join(d, "d", "f"), bytes.Repeat([]byte("x"), 256<<10), 0o600)
		}, "contents"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := SameTree(plain, make(tc.change))
			if (err == nil) != (tc.want == "") || (err != nil && !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestProgramTellsExitCodeAndStderr(t *testing.T) {
	r, err := Program{Path: "/bin/sh", Args: []string{"-c", "echo out; echo bad >&2; exit 3"}}.Run(t.Context())
	if err == nil || r.Code != 3 || r.Stdout != "out\n" || r.Stderr != "bad\n" || !strings.Contains(err.Error(), "bad") {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	w := &tailWriter{limit: 4}
	for _, s := range []string{"ab", "cde", "", "f"} {
		if n, err := w.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatal(n, err)
		}
	}
	if w.String() != "cdef" {
		t.Errorf("kept %q", w)
	}
}

func TestUsageOfThisProcess(t *testing.T) {
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("no /proc")
	}
	before, err := UsageOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	ballast := bytes.Repeat([]byte("x"), 64<<20)
	var after Usage
	for deadline := time.Now().Add(time.Minute); after.CPU <= before.CPU && time.Now().Before(deadline); {
		bytes.Count(ballast, []byte("y")) // burns what the kernel counts in ticks of 10 ms
		if after, err = UsageOf(os.Getpid()); err != nil {
			t.Fatal(err)
		}
	}
	if after.Anon < int64(len(ballast)) || after.RSS < after.Anon || after.CPU <= before.CPU {
		t.Errorf("before %+v, after %+v", before, after)
	}
	runtime.KeepAlive(ballast)
}

func TestDaemonThatEndsIsWaitedFor(t *testing.T) {
	d, err := startDaemon(t.Context(), Program{Path: "/bin/sh", Args: []string{"-c", "echo gone >&2; exit 7"}})
	if err != nil {
		t.Fatal(err)
	}
	<-d.done
	if err := d.stop(); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("stop says %v", err)
	}
	if err := d.kill(); err != nil {
		t.Error(err)
	}
}

func TestNginxCountsWhatItServes(t *testing.T) {
	name, err := FindNginx()
	if err != nil {
		t.Skipf("no nginx: %v", err)
	}
	root := t.TempDir()
	if _, err := WriteRandom(filepath.Join(root, "f"), 1, 100000); err != nil {
		t.Fatal(err)
	}
	n, err := StartNginx(t.Context(), name, root, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	}()
	for range 2 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.URL+"/f", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	// nginx writes its log after the answer; the count is exact once it is there.
	deadline := time.Now().Add(60 * time.Second)
	for {
		got, err := n.Requests("/f")
		if err != nil {
			t.Fatal(err)
		}
		if slices.Equal(got, []Served{{http.StatusOK, 100000}, {http.StatusOK, 100000}}) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", got)
		}
		<-time.After(10 * time.Millisecond)
	}
}

func TestKuboComesUpAlone(t *testing.T) {
	name, err := FindKubo()
	if err != nil {
		t.Skipf("no Kubo: %v", err)
	}
	k, err := NewKubo(t.Context(), name, filepath.Join(t.TempDir(), "kubo"), "v1-2025")
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	a, err := k.Address(t.Context())
	if err != nil || !strings.Contains(a, "/p2p/") {
		t.Errorf("address %q, %v", a, err)
	}
	if u, err := UsageOf(k.PID()); err != nil || u.RSS == 0 {
		t.Errorf("%+v, %v", u, err)
	}
	if err := k.Stop(); err != nil {
		t.Error(err)
	}
}
