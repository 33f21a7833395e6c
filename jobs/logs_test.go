package jobs

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// newLog begins a log in a directory of its own.
func newLog(t *testing.T, most int64) (*logFile, string) {
	t.Helper()
	dir := t.TempDir()
	l, err := openLog(dir, Stdout, most, true, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
	return l, dir
}

// content returns what a log gives to a reader.
func content(t *testing.T, l *logFile) string {
	t.Helper()
	var b bytes.Buffer
	if err := l.copyTo(t.Context(), &b, false); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// J3: of a log that is larger than its files, the end is kept, and no file grows
// beyond its size.
func TestLogRotation(t *testing.T) {
	l, dir := newLog(t, 100)
	var all strings.Builder
	for i := range 100 {
		line := fmt.Sprintf("line %d\n", i)
		all.WriteString(line)
		if n, err := l.Write([]byte(line)); n != len(line) || err != nil {
			t.Fatal(n, err)
		}
		got := content(t, l)
		if !strings.HasSuffix(all.String(), got) || len(got) < min(all.Len(), 100) || len(got) > 200 {
			t.Fatalf("%d bytes of %d: %q", len(got), all.Len(), got)
		}
	}
	for _, name := range []string{"stdout.log", "stdout.log.1"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Size() > 100 || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	big := strings.Repeat("0123456789", 100) // ten files in one write
	if _, err := l.Write([]byte(big)); err != nil {
		t.Fatal(err)
	}
	before := content(t, l)
	if !strings.HasSuffix(big, before) || len(before) < 100 {
		t.Errorf("%q", before)
	}
	if err := l.finish(); err != nil {
		t.Fatal(err)
	}
	again, err := openLog(dir, Stdout, 100, false, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if got := content(t, again); got != before {
		t.Errorf("opened again: %q, was %q", got, before)
	}
	if err := again.close(); err != nil {
		t.Error(err)
	}
}

// Who follows a log gets every byte once, in order, if it keeps up, and its end.
func TestLogFollow(t *testing.T) {
	l, _ := newLog(t, 1<<20)
	var wg sync.WaitGroup
	readers := make([]bytes.Buffer, 3)
	for i := range readers {
		wg.Go(func() {
			if err := l.copyTo(t.Context(), &readers[i], true); err != nil {
				t.Error(err)
			}
		})
	}
	var want bytes.Buffer
	for i := range 1000 {
		line := fmt.Appendf(nil, "%d\n", i)
		want.Write(line)
		if _, err := l.Write(line); err != nil {
			t.Error(err)
		}
	}
	if err := l.finish(); err != nil {
		t.Error(err)
	}
	wg.Wait()
	for i := range readers {
		if !bytes.Equal(readers[i].Bytes(), want.Bytes()) {
			t.Errorf("reader %d got %d of %d bytes", i, readers[i].Len(), want.Len())
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.copyTo(ctx, &want, true); err != nil {
		t.Errorf("a log that has ended: %v", err)
	}
}

func TestLogFollowCancelled(t *testing.T) {
	l, _ := newLog(t, 100)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.copyTo(ctx, &bytes.Buffer{}, true); err == nil {
		t.Error("a cancelled reader got an end")
	}
}

// A log that can't be written does not fail its command.
func TestLogLoss(t *testing.T) {
	l, dir := newLog(t, 10)
	if _, err := l.Write([]byte("0123456789")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "stdout.log.1"), 0o700); err != nil { // no rename on to it
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "stdout.log.1", "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if n, err := l.Write([]byte("more")); n != 4 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	if !l.lost {
		t.Error("the loss was not noticed")
	}
	if err := l.finish(); err != nil {
		t.Error(err)
	}
}
