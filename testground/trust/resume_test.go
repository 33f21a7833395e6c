package trust

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// stopper is an origin of one content that stops at some byte, wherever an answer
// begins. It notes where answers begin, and counts what it gives.
type stopper struct {
	*httptest.Server
	content string // name of a file

	mu    sync.Mutex
	stop  int64         // byte
	moved chan struct{} // closed when stop changes
	froms []int64       // where answers began
	given int64         // bytes
}

func serveStopping(t *testing.T, content string) *stopper {
	t.Helper()
	s := &stopper{content: content, moved: make(chan struct{})}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

// stopAt moves the stop, and forgets where answers began.
func (s *stopper) stopAt(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stop, s.froms = n, nil
	close(s.moved)
	s.moved = make(chan struct{})
}

func (s *stopper) begun() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.froms)
}

func (s *stopper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, err := os.Open(s.content)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer f.Close()
	w.Header().Set("ETag", `"v1"`)
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, &stopped{f: f, s: s, gone: r.Context().Done()})
}

// stopped is the content for one answer. The server must not see that it is a
// file: the kernel would not stop.
type stopped struct {
	f    *os.File
	s    *stopper
	gone <-chan struct{}
	pos  int64
	read bool
}

func (f *stopped) Seek(off int64, whence int) (n int64, err error) {
	f.pos, err = f.f.Seek(off, whence)
	return f.pos, err
}

// Read waits at the stop until that moves or the client has gone.
func (f *stopped) Read(p []byte) (int, error) {
	for {
		f.s.mu.Lock()
		if !f.read {
			f.read = true
			f.s.froms = append(f.s.froms, f.pos)
		}
		room, moved := f.s.stop-f.pos, f.s.moved
		if room > 0 {
			n, err := f.f.Read(p[:min(int64(len(p)), room)])
			f.pos += int64(n)
			f.s.given += int64(n)
			f.s.mu.Unlock()
			return n, err
		}
		f.s.mu.Unlock()
		select {
		case <-moved:
		case <-f.gone:
			return 0, io.ErrUnexpectedEOF
		}
	}
}

// TestKillAndGoOn kills the daemon with SIGKILL in the middle of a download, again
// and again, and holds that the next fetch goes on: at most one window (32 MiB) is
// fetched again, also from another URL when the digest is named, the content is
// right, and no part file stays.
func TestKillAndGoOn(t *testing.T) {
	const (
		size   = 112 << 20
		window = 32 << 20
		unit   = 1 << 20 // what is on its way through an import in one piece
	)
	file := filepath.Join(t.TempDir(), "content")
	sum, err := rig.WriteRandom(file, 11, size)
	ok(t, err)
	for _, tc := range []struct {
		name string
		ref  func(o *stopper, i int) map[string]any
	}{
		{"the same URL", func(o *stopper, _ int) map[string]any { return rig.URI(o.URL + "/f") }},
		{"a digest, of ever new mirrors", func(o *stopper, i int) map[string]any {
			ref := rig.URI(fmt.Sprintf("%s/%d/f", o.URL, i))
			ref["checksum"] = "sha256:" + sum
			return ref
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, repo := serveStopping(t, file), filepath.Join(t.TempDir(), "repo")
			at := int64(0)
			for i, stop := range []int64{40 << 20, 76 << 20, 108 << 20} {
				o.stopAt(stop)
				n := start(t, repo)
				job, err := n.CreateJob(rig.Within(t))
				ok(t, err)
				done := make(chan error, 1)
				go func() {
					_, err := job.Fetch(rig.Within(t), tc.ref(o, i))
					done <- err
				}()
				eventually(t, "the content is written up to the stop", func() bool {
					part := partFiles(t, repo)
					return len(part) == 1 && part[0] >= stop-2*unit
				})
				ok(t, n.Kill())
				if err := <-done; err == nil {
					t.Fatal("a fetch was answered whose content was never sent")
				}
				checkBegun(t, o, at, window+2*unit)
				at = stop
			}
			o.stopAt(size + 1)
			n := start(t, repo)
			job, err := n.CreateJob(rig.Within(t))
			ok(t, err)
			got, err := job.Fetch(rig.Within(t), tc.ref(o, 9))
			ok(t, err)
			checkBegun(t, o, at, window+2*unit)
			inDir, err := rig.HashFile(filepath.Join(job.WorkDir, got[0].Path))
			if err != nil || inDir != sum || got[0].Checksum != "sha256:"+sum {
				t.Errorf("sha256 %s, %v, answer %s, want %s", inDir, err, got[0].Checksum, sum)
			}
			if left := partFiles(t, repo); len(left) > 0 {
				t.Errorf("%d part files are left", len(left))
			}
			stop(t, n)
			o.Close()
			t.Logf("3 kills, %d bytes given of %d", o.given, size)
			if r, err := hypha(rig.Within(t), repo, "verify"); err != nil {
				t.Errorf("verify: %v %s", err, r.Stdout)
			}
		})
	}
}

// checkBegun fails unless the first answer began at most most bytes before byte
// at. (There are more when a loaded machine took so long that the node asked again.)
func checkBegun(t *testing.T, o *stopper, at, most int64) {
	t.Helper()
	from := o.begun()
	if len(from) == 0 || from[0] > at || at-from[0] > most {
		t.Errorf("answers began at %d after a kill at byte %d, want the first at most %d bytes before that", from, at, most)
	}
}

// partFiles returns the sizes of the part files of a repository.
func partFiles(t *testing.T, repo string) (sizes []int64) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(repo, "segments", "*.part"))
	ok(t, err)
	for _, name := range names {
		info, err := os.Stat(name)
		if ok(t, ignoreMissing(err)); err == nil {
			sizes = append(sizes, info.Size())
		}
	}
	return sizes
}
