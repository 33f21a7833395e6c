package trust

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// hostile returns names that try to leave a directory, to hit the node's own
// files, or to confuse whoever prints them: a few parts in all combinations.
func hostile() []string {
	parts := []string{
		"..", ".", "", "/", "a", "~", "C:", "\\", "..\\..", "\x00", "\n", "\x1b[31m", "\u202e", "\xff\xfe", "nul", "con.txt",
		"link", "%2e%2e", "%2f", "...", " ", "-rf", strings.Repeat("x", 300), "file.bin", ".hypha", "a:b", "\u2025",
	}
	var names []string
	for _, a := range parts {
		for _, b := range parts {
			names = append(names, a+"/"+b)
			if a == ".." || a == "link" || a == "/" {
				for _, c := range parts {
					names = append(names, a+"/"+b+"/"+c, strings.Repeat(a+"/", 9)+b+c)
				}
			}
		}
	}
	return append(names, "/etc/passwd", "//etc", "../../../../../../etc/cron.d/x", strings.Repeat("d/", 3000)+"f", "/proc/self/root/tmp/x")
}

// TestHostileNames sends 2,000 hostile names as directory of a fetch, as name of
// its file and as job. Each is refused with a 4xx or lies inside the work
// directory; nothing else in the world changes, and the daemon lives.
func TestHostileNames(t *testing.T) {
	world, o := t.TempDir(), serve(t)
	n := start(t, filepath.Join(world, "repo"))
	defer stop(t, n)
	job, err := n.CreateJob(rig.Within(t))
	ok(t, err)
	outside := filepath.Join(world, "outside")
	ok(t, os.Mkdir(outside, 0o700))
	ok(t, os.WriteFile(filepath.Join(outside, "canary"), []byte("sings"), 0o600))
	ok(t, os.Symlink(outside, filepath.Join(job.WorkDir, "link")))
	before := listing(t, world, job.WorkDir)

	names, kept, refusals := hostile(), 0, 0
	if len(names) < 2000 {
		t.Fatalf("only %d names", len(names))
	}
	for i, name := range names {
		ref := rig.URI(o.url(1, 10))
		if i%2 == 0 {
			ref["filename"] = name
		}
		body := map[string]any{"fetch": ref}
		if i%2 == 1 {
			body["out_dir"] = name
		}
		got, err := job.Post(rig.Within(t), body)
		var refused *rig.Refused
		switch {
		case errors.As(err, &refused):
			if refused.Status < 400 || refused.Status >= 500 {
				t.Errorf("%q: %v", name, err)
			}
			if strings.ContainsAny(refused.Detail, "\x00\x1b") {
				t.Errorf("%q: the answer passes control characters on: %q", name, refused.Detail)
			}
			refusals++
		case err != nil:
			t.Fatalf("%q: %v", name, err)
		default:
			for _, f := range got {
				if !filepath.IsLocal(f.Path) {
					t.Errorf("%q: the answer names %q", name, f.Path)
				}
			}
			kept++
		}
	}
	if after := listing(t, world, job.WorkDir); after != before {
		t.Errorf("something changed outside the work directory:\n%s\nwas\n%s", after, before)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
		t.Errorf("outside holds %v, %v", entries, err)
	}
	if refusals == 0 || kept == 0 {
		t.Errorf("%d names refused, %d accepted: the test shows nothing", refusals, kept)
	}
	t.Logf("%d names: %d refused, %d inside the work directory", len(names), refusals, kept)
}

// listing returns every name below dir with its size and mode, without what the
// daemon itself writes and without the work directory.
func listing(t *testing.T, dir, workDir string) string {
	t.Helper()
	var b strings.Builder
	ok(t, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return ignoreMissing(err)
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		if name == workDir || rel == filepath.Join("repo", "index") || rel == filepath.Join("repo", "segments") {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return ignoreMissing(err)
		}
		fmt.Fprintf(&b, "%v %s\n", info.Mode(), rel)
		return nil
	}))
	return b.String()
}

// TestHostileRequests sends what no client should: each gets an answer below
// 500, and the daemon lives.
func TestHostileRequests(t *testing.T) {
	n := start(t, filepath.Join(t.TempDir(), "repo"))
	defer stop(t, n)
	job, err := n.CreateJob(rig.Within(t))
	ok(t, err)
	for _, tc := range []struct {
		name, body string
		status     int // 0: any below 500
	}{
		{"empty", ``, 400},
		{"null", `null`, 0},
		{"array", `[]`, 0},
		{"deep", strings.Repeat("[", 100000), 400},
		{"deep object", strings.Repeat(`{"fetch":`, 50000), 400},
		{"number as type", `{"type":7}`, 0},
		{"list as value", `{"type":"uri","value":[]}`, 0},
		{"file scheme", `{"type":"uri","value":"file:///etc/passwd"}`, 400},
		{"gopher", `{"type":"uri","value":"gopher://127.0.0.1:70/_x"}`, 400},
		{"no host", `{"type":"uri","value":"http://"}`, 400},
		{"metadata service", `{"type":"uri","value":"http://169.254.169.254/latest/meta-data"}`, 403},
		{"this network", `{"type":"uri","value":"http://0.0.0.0/"}`, 403},
		{"private", `{"type":"uri","value":"http://10.0.0.1/"}`, 403},
		{"IPv6 unique local", `{"type":"uri","value":"http://[fd00:ec2::254]/"}`, 403},
		{"NAT64 of a private one", `{"type":"uri","value":"http://[64:ff9b::a00:1]/"}`, 403},
		{"no CID", `{"type":"cids","values":["bafynonsense"]}`, 400},
		{"many CIDs", `{"type":"cids","values":[` + strings.Repeat(`"x",`, 100000) + `"x"]}`, 400},
		{"too large", `{"type":"uri","value":"http://127.0.0.1/` + strings.Repeat("a", 2<<20) + `"}`, 413},
		{"bad checksum", `{"type":"uri","value":"http://127.0.0.1:1/","checksum":"md5:1"}`, 400},
		{"traversal in a repository", `{"type":"huggingface","repository":"../..","filenames":["x"]}`, 400},
		{"traversal in a file name", `{"type":"huggingface","repository":"a/b","filenames":["../../x"]}`, 400},
		{"invalid UTF-8", "{\"type\":\"uri\",\"value\":\"http://10.0.0.1/\xff\xfe\"}", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := job.PostRaw(rig.Within(t), strings.NewReader(tc.body))
			var refused *rig.Refused
			if !errors.As(err, &refused) {
				t.Fatalf("not refused: %v", err)
			}
			if refused.Status >= http.StatusInternalServerError || (tc.status != 0 && refused.Status != tc.status) {
				t.Errorf("%v, want %d", err, tc.status)
			}
		})
	}
}
