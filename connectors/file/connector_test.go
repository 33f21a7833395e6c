package file_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/conntest"
	"github.com/hypha-node/hypha-node/connectors/file"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// later is a clock that files have been left alone for.
func later() time.Time { return time.Now().Add(time.Minute) }

// write makes files below a directory and returns it.
func write(t *testing.T, files ...conntest.File) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		name := filepath.Join(dir, filepath.FromSlash(f.Path))
		must(t, os.MkdirAll(filepath.Dir(name), 0o700))
		must(t, os.WriteFile(name, f.Content, 0o600))
	}
	return dir
}

func parse(t *testing.T, path string) connectors.Ref {
	t.Helper()
	ref, err := connectors.ParseURI("file://" + strings.ReplaceAll(path, "%", "%25"))
	must(t, err)
	return ref
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestConnector(t *testing.T) {
	large := []byte(strings.Repeat("0123456789abcdef", 1<<17))
	archive := []byte("PK\x03\x04 is how archives begin; nobody unpacks them")
	operator := connectors.Access{Operator: true}
	t.Run("file", func(t *testing.T) {
		conntest.Run(t, func(t *testing.T) conntest.Fixture {
			files := []conntest.File{{Path: "a %25 b.bin", Content: large}}
			dir := write(t, files...)
			return conntest.Fixture{Connector: file.New(later), Access: operator, Ref: parse(t, dir+"/a %25 b.bin"), Files: files, Missing: parse(t, dir+"/none")}
		})
	})
	t.Run("directory", func(t *testing.T) {
		conntest.Run(t, func(t *testing.T) conntest.Fixture {
			files := []conntest.File{{Path: "a.zip", Content: archive}, {Path: "b/large", Content: large}, {Path: "c", Content: []byte{}}}
			dir := write(t, append(files, conntest.File{Path: ".git/config"}, conntest.File{Path: "b/.hidden"})...)
			return conntest.Fixture{Connector: file.New(later), Access: operator, Ref: parse(t, dir), Files: files}
		})
	})
}

// only returns the one item of a reference.
func only(t *testing.T, c *file.Connector, ref connectors.Ref, acc connectors.Access) (one connectors.Item, err error) {
	t.Helper()
	for it, err := range c.Items(t.Context(), ref, acc) {
		if err != nil {
			return it, err
		}
		one = it
	}
	return one, nil
}

// TestJobs: a job gets no file of the node, be it there or not.
func TestJobs(t *testing.T) {
	dir := write(t, conntest.File{Path: "f"})
	for _, name := range []string{"/f", "/none", ""} {
		_, err := only(t, file.New(nil), parse(t, dir+name), connectors.Access{})
		ce, ok := errors.AsType[*connectors.Error](err)
		if !ok || !errors.Is(err, connectors.ErrForbidden) || ce.Hint == "" || strings.Contains(err.Error(), dir) {
			t.Errorf("%q: %v, want ErrForbidden with a hint and without the path", name, err)
		}
	}
}

// TestChanged: a file that changes is another file: while it is read, between two
// reads of its parts, and between two fetches. One that has just been written can't
// be told from what it was a moment ago.
func TestChanged(t *testing.T) {
	dir := write(t, conntest.File{Path: "f", Content: []byte("0123456789")})
	name := filepath.Join(dir, "f")
	old := time.Now().Add(-time.Hour).Truncate(time.Second)
	must(t, os.Chtimes(name, old, old))
	it, err := only(t, file.New(nil), parse(t, name), connectors.Access{Operator: true})
	must(t, err)
	body, err := it.Open(t.Context(), 0, -1, nil)
	must(t, err)
	if len(body.Meta) == 0 || body.ETag == "" {
		t.Fatalf("body has no validator: %+v", body)
	}
	if _, err := it.Open(t.Context(), 0, -1, body.Meta); !errors.Is(err, connectors.ErrNotModified) {
		t.Errorf("unchanged: %v, want ErrNotModified", err)
	}
	must(t, os.WriteFile(name, []byte("abcdefghij"), 0o600))
	if _, err := io.ReadAll(body); !errors.Is(err, connectors.ErrUpstream) {
		t.Errorf("changed while it was read: %v, want ErrUpstream", err)
	}
	must(t, body.Close())
	if _, err := it.Open(t.Context(), 5, -1, body.Meta); !errors.Is(err, connectors.ErrChanged) {
		t.Errorf("the rest of what has changed: %v, want ErrChanged", err)
	}
	fresh, err := it.Open(t.Context(), 0, -1, body.Meta)
	must(t, err)
	if fresh.Meta != nil {
		t.Errorf("validator %s of a file that was written just now", fresh.Meta)
	}
	must(t, fresh.Close())
}

// TestOdd: what is no file is none, and links are followed to files only.
func TestOdd(t *testing.T) {
	dir := write(t, conntest.File{Path: "d/f", Content: []byte("x")})
	must(t, os.Symlink("f", filepath.Join(dir, "d", "link")))
	must(t, os.Symlink("nowhere", filepath.Join(dir, "d", "broken")))
	must(t, os.Symlink("..", filepath.Join(dir, "d", "up")))
	operator := connectors.Access{Operator: true}
	var names []string
	for it, err := range file.New(nil).Items(t.Context(), parse(t, dir), operator) {
		must(t, err)
		names = append(names, it.Path)
	}
	if got := strings.Join(names, " "); got != "d/f d/link" {
		t.Errorf("files are %s, want d/f d/link", got)
	}
	if _, err := only(t, file.New(nil), parse(t, "/dev/null"), operator); !errors.Is(err, connectors.ErrInvalid) {
		t.Errorf("a device: %v, want ErrInvalid", err)
	}
	ref := parse(t, dir)
	ref.Filename = "x"
	if _, err := only(t, file.New(nil), ref, operator); !errors.Is(err, connectors.ErrInvalid) {
		t.Errorf("a name for a directory: %v, want ErrInvalid", err)
	}
}
