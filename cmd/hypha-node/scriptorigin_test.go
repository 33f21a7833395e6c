package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// stream returns endless bytes that a seed determines.
func stream(seed string) io.Reader {
	var key [32]byte
	copy(key[:], seed)
	return rand.NewChaCha8(key)
}

func cmdOrigin(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, neg, len(args) == 1 || len(args) == 2 && args[0] == "requests", "origin DIR | origin requests N")
	all, hit := &state(ts).requests, state(ts).hit
	if len(args) == 2 {
		want, err := strconv.ParseInt(args[1], 10, 64)
		ts.Check(err)
		if got := all.Swap(0); got != want {
			ts.Fatalf("%d requests, want %d", got, want)
		}
		return
	}
	files := http.FileServer(http.Dir(ts.MkAbs(args[0])))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		all.Add(1)
		if filepath.Base(r.URL.Path) == "endless" { // begins and never ends
			w.Header().Set("Content-Length", strconv.Itoa(1<<30))
			if _, err := io.CopyN(w, stream("endless"), 1<<20); err == nil {
				select {
				case hit <- struct{}{}:
				default:
				}
				<-r.Context().Done()
			}
			return
		}
		files.ServeHTTP(w, r)
	}))
	ts.Defer(s.Close)
	ts.Setenv("ORIGIN", s.URL)
}

func cmdHub(ts *testscript.TestScript, neg bool, args []string) {
	private := len(args) == 2 && args[0] == "private"
	need(ts, neg, len(args) == 1 || private, "hub [private] DIR")
	dir := ts.MkAbs(args[len(args)-1])
	cfg := hubtest.Config{Tokens: map[string]hubtest.User{"secret": {Name: "reader"}}}
	repos, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	ts.Check(err)
	for _, repo := range repos {
		files := map[string]hubtest.Content{}
		ts.Check(filepath.WalkDir(repo, func(name string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			rel, err := filepath.Rel(repo, name)
			if err != nil {
				return err
			}
			files[filepath.ToSlash(rel)], err = hubtest.Disk(name)
			return err
		}))
		id, err := filepath.Rel(dir, repo)
		ts.Check(err)
		cfg.Repos = append(cfg.Repos, hubtest.Repo{ID: filepath.ToSlash(id), Files: files, Private: private, Readers: []string{"reader"}})
	}
	h, err := hubtest.New(cfg)
	ts.Check(err)
	ts.Check(h.Start())
	ts.Defer(func() { _ = h.Close() })
	ts.Setenv("HF_ENDPOINT", h.URL)
}

func cmdPost(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, false, len(args) == 3, "[!] post SOCKET PATH FILE")
	body, err := os.Open(ts.MkAbs(args[2]))
	ts.Check(err)
	defer body.Close()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", args[0])
		},
	}}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://hypha"+args[1], body)
	ts.Check(err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	_, err = fmt.Fprintln(ts.Stdout(), resp.StatusCode)
	ts.Check(err)
	_, err = io.Copy(ts.Stdout(), resp.Body)
	ts.Check(err)
	if (resp.StatusCode == http.StatusOK) == neg {
		ts.Fatalf("status %d", resp.StatusCode)
	}
}
