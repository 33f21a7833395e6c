package rest

import (
	"context"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// pair returns two real jobs of one id on two nodes, peer-a and peer-b, that send
// each other files. The hub and the origin of each have /hello.txt; more are other
// repositories of the hub.
func pair(t testing.TB, more ...hubtest.Repo) (a, b *jobServer, origin string) {
	t.Helper()
	net := bridgetest.NewNetwork()
	var both []*jobServer
	for _, id := range []string{"peer-a", "peer-b"} {
		store := blockstore.NewMemory()
		t.Cleanup(func() {
			if err := store.Close(); err != nil {
				t.Error(err)
			}
		})
		w := bridgetest.New(t, bridgetest.Options{Store: store, Hub: hubtest.Config{Repos: append(more, hubtest.Repo{
			ID: "o/m", Files: map[string]hubtest.Content{"hello.txt": hubtest.Bytes([]byte("hello world"))},
		})}})
		w.Origin.Put("/hello.txt", []byte("hello world"))
		origin = w.Origin.URL
		dir := filepath.Join(t.TempDir(), "work")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		node := net.Node(id, store)
		conf := w.Config("train", dir)
		conf.Peers, conf.Inbox = node, store.Records("inbox")
		job := w.OpenWith(t, conf)
		node.Serve(job)
		both = append(both, &jobServer{server: serve(t, Config{Job: job}), job: job, dir: dir})
	}
	return both[0], both[1], origin
}

// variables are those of the transcripts, for a pair.
func variables(a, b *jobServer, origin string) map[string]string {
	return map[string]string{
		"ORIGIN": origin, "REPO": "o/m", "SELF": a.job.Info().PeerID, "PEER": b.job.Info().PeerID,
		"PEER_SOCKET": b.socket, "PEER_WORK_DIR": b.dir,
	}
}

// transcripts returns the golden files.
func transcripts(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "testdata", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	return files
}

func TestTranscripts(t *testing.T) {
	for _, file := range transcripts(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			a, b, origin := pair(t)
			r := &replay{
				t: t, vars: variables(a, b, origin),
				job: &side{socket: a.socket, dir: a.dir}, peer: &side{socket: b.socket, dir: b.dir},
			}
			r.run(file)
		})
	}
}

// python returns the interpreter; a test that needs it fails in CI without it.
func python(t testing.TB) string {
	t.Helper()
	name, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("no python3 here: ", err)
	}
	return name
}

// The script that checks other implementations agrees about ours.
func TestTranscriptsInPython(t *testing.T) {
	interpreter := python(t)
	for _, file := range transcripts(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			a, b, origin := pair(t)
			args := []string{filepath.Join("..", "testdata", "replay.py"), a.socket, a.dir, file}
			for name, value := range variables(a, b, origin) {
				args = append(args, name+"="+value)
			}
			out, err := exec.CommandContext(t.Context(), interpreter, args...).CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), "ok ") {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// Both replayers find what is wrong: each line of these is broken on its own.
func TestReplayBarks(t *testing.T) {
	interpreter := python(t)
	s := serve(t, Config{Job: &scripted{receive: func(ctx context.Context, r bridge.ReceiveRequest) iter.Seq2[bridge.Received, error] {
		return newInbox(1).receive(ctx, r)
	}}})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "there"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	var files []string
	const get = "> GET /healthz HTTP/1.1\n> Host: h\n>\n"
	const events = "> POST /resources/receive HTTP/1.1\n> Host: h\n> Content-Type: application/json\n>\n> {\"receive\":" + anyPeer + "}\n< 200\n<\n"
	for name, text := range map[string]string{
		"status":       get + "< 201\n",
		"header":       get + "< 200\n< Content-Type: text/plain\n",
		"no body":      get + "< 200\n",
		"value":        get + "< 200\n<\n< {\"status\": \"bad\"}\n",
		"kind":         get + "< 200\n<\n< {\"status\": \"{{int}}\"}\n",
		"key missing":  get + "< 200\n<\n< {\"status\": \"ok\", \"more\": 1}\n",
		"key too many": get + "< 200\n<\n< {}\n",
		"list":         get + "< 200\n<\n< []\n",
		"id":           events + "< id: 7\n< data: {\"...\": 0}\n",
		"no id":        events + "< data: {\"...\": 0}\n",
		"event":        events + "< event: progress\n< data: {\"...\": 0}\n",
		"data":         events + "< id: 0\n< data: {\"size\": 7, \"...\": 0}\n",
		"path":         events + "< id: 0\n< data: {\"path\": \"{{path}}\", \"...\": 0}\n",
		"check":        "check there y\n",
		"gone":         "gone there\n",
		"word":         "frob\n",
	} {
		file := filepath.Join(dir, name+".txt")
		files = append(files, file)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		r := &replay{t: t, vars: map[string]string{}, job: &side{socket: s.socket, dir: dir}, peer: &side{}}
		if err := r.try(file); err == nil {
			t.Errorf("%s: the Go replayer is content", name)
		}
	}
	args := append([]string{filepath.Join("..", "testdata", "replay.py"), s.socket, dir}, files...)
	out, err := exec.CommandContext(t.Context(), interpreter, args...).CombinedOutput()
	if err == nil {
		t.Error("replay.py is content")
	}
	for _, file := range files {
		if !strings.Contains(string(out), "FAIL "+file+": line ") {
			t.Errorf("replay.py is content with %s: %s", file, out)
		}
	}
}
