package rest

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// On a real repository: what one job fetched, another gets from the store, also
// after the repository was closed and opened again.
func TestOnDisk(t *testing.T) {
	hub, files := model()
	repo := t.TempDir()
	const body = `{"type":"huggingface","repository":"org/model","revision":"%s","filenames":["model.safetensors","config.json","a/b/c.json","empty.txt"]}`
	commit := "main"
	for round := range 2 {
		t.Run(fmt.Sprint(round), func(t *testing.T) {
			w := bridgetest.New(t, bridgetest.Options{Hub: hub, Store: bridgetest.Disk(t, repo)})
			for n := range 2 {
				s := serveJob(t, w, fmt.Sprint("disk", n))
				for _, r := range s.fetch(fmt.Sprintf(body, commit)).files(t) {
					s.checkFile(r, files[r.Path[len("artifacts/"):]])
					if cached := round+n > 0; r.Metadata.Cached != cached {
						t.Errorf("round %d, job %d, %s: cached %v", round, n, r.Path, r.Metadata.Cached)
					}
				}
				s.tree()
			}
			commit = w.Hub.Head("model/org/model")
		})
	}
}

// Exact bytes of answers: who depends on them is told by this test.
func TestGoldenAnswers(t *testing.T) {
	w := bridgetest.New(t, bridgetest.Options{
		Now: func() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 999, time.FixedZone("", 3600)) },
		Hub: hubtest.Config{Repos: []hubtest.Repo{{ID: "o/m", Files: map[string]hubtest.Content{"hello.txt": hubtest.Bytes([]byte("hello world"))}}}},
	})
	w.Origin.Put("/<&>.txt", []byte("hello world"))
	commit := w.Hub.Head("model/o/m")
	const sum = `"checksum":"sha256:b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"`
	const cid = `"cid":"bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"`
	hello := `[{"path":"artifacts/hello.txt","size":11,` + sum + `,` + cid + `,"metadata":{"source":"huggingface",` +
		`"timestamp":"2026-11-21T11:00:00Z","revision":"` + commit + `","etag":"95d09f2b10159347eece71399a7e2e907ea3df4f","cached":%v,"from":"%s"}}]` + "\n"
	s := serveJob(t, w, "golden")
	tests := []struct {
		name, body string
		status     int
		want       string
	}{
		{"A", `{"fetch":{"type":"HuggingFace","repository":"o/m","filenames":["hello.txt"]},"out_dir":"artifacts"}`, 200, fmt.Sprintf(hello, false, "origin")},
		{"B", `{"type":"huggingface","repository":"o/m","revision":null,"filenames":["hello.txt"],"token":null}`, 200, fmt.Sprintf(hello, true, "store")},
		{"D", `{"resource":{"type":"huggingface","repository":"o/m","filenames":["hello.txt"]}}`, 200, fmt.Sprintf(hello, true, "store")},
		{"URI", `"hf://o/m/hello.txt"`, 200, fmt.Sprintf(hello, true, "store")},
		{
			"names are not escaped for HTML", `{"fetch":{"type":"uri","value":"` + w.Origin.URL + `/%3C&%3E.txt","filename":"<&>.txt"},"out_dir":"d"}`, 200,
			`[{"path":"d/<&>.txt","size":11,` + sum + `,` + cid + `,"metadata":{"source":"http","timestamp":"2026-11-21T11:00:00Z","etag":"\"v1\"","cached":false,"from":"origin"}}]` + "\n",
		},
		{
			"nothing", `{"type":"huggingface","repository":"o/m","filenames":[]}`, 400,
			`{"error":"invalid_request","detail":"invalid reference: filenames is empty","request_id":"6"}` + "\n",
		},
		{
			"path", `{"fetch":"hf://o/m/hello.txt","out_dir":"../x"}`, 400,
			`{"error":"invalid_path","detail":"invalid path \"../x\": path \"../x\": \"..\": not a name: unsafe name","request_id":"7"}` + "\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if a := s.fetch(tt.body); a.status != tt.status || string(a.body) != tt.want {
				t.Errorf("%d\n%s\nwant %d\n%s", a.status, a.body, tt.status, tt.want)
			}
		})
	}
}

// BenchmarkFetch brings 256 MiB into a work directory: from an origin on
// loopback into store and directory, and for a second job from the store.
func BenchmarkFetch(b *testing.B) {
	const size = 256 << 20
	data := random(1, size)
	for _, cached := range []bool{false, true} {
		b.Run(map[bool]string{false: "origin", true: "store"}[cached], func(b *testing.B) {
			w := bridgetest.New(b, bridgetest.Options{Store: bridgetest.Disk(b, b.TempDir())})
			s := serveJob(b, w, "bench")
			w.Origin.Put("/f", data)
			if cached {
				s.fetch(`"` + w.Origin.URL + `/f"`).files(b)
			}
			b.SetBytes(size)
			for i := 0; b.Loop(); i++ {
				if !cached { // a file that is new to the store
					data = bytes.Clone(data)
					data[0]++
					w.Origin.Put(fmt.Sprintf("/f%d", i), data)
					s.fetch(fmt.Sprintf(`"%s/f%d"`, w.Origin.URL, i)).files(b)
					continue
				}
				s.fetch(`"` + w.Origin.URL + `/f"`).files(b)
			}
		})
	}
}

// A work directory on a full file system: no_space, nothing left, and the file
// is in the store for the time when there is room.
func TestNoSpaceInWorkDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "work")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	unmount, err := mountSmall(dir, 4<<20)
	if err != nil {
		t.Skipf("no small file system can be mounted here: %v", err)
	}
	w := bridgetest.New(t, bridgetest.Options{})
	job := w.OpenIn(t, "small", dir)
	s := &jobServer{server: serve(t, Config{Job: job}), job: job, dir: dir}
	t.Cleanup(func() {
		s.stop()
		if err := job.Close(); err != nil {
			t.Error(err)
		}
		if err := unmount(); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	data := random(12, 6<<20)
	f := w.Origin.Put("/big", data)
	w.Origin.Put("/fits", data[:2<<20])
	for range 2 {
		a := s.fetch(`"` + w.Origin.URL + `/big"`)
		if p := a.problem(t); a.status != http.StatusInsufficientStorage || p.Error != "no_space" || p.Hint == "" {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if got := s.tree(); len(got) != 0 {
			t.Errorf("work directory has %v", got)
		}
	}
	s.checkFile(s.fetch(`"` + w.Origin.URL + `/fits"`).files(t)[0], data[:2<<20])
	if got := s.tree(); !slices.Equal(got, []string{"artifacts/fits"}) {
		t.Errorf("work directory has %v", got)
	}
	if f.Sent() != int64(len(data)) {
		t.Errorf("the origin sent %d bytes of a file of %d", f.Sent(), len(data))
	}
}
