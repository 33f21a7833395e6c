package interop

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// versity returns a running versitygw with the bucket "models", or skips the test.
func versity(t *testing.T) *rig.VersityGW {
	t.Helper()
	name, err := rig.FindVersityGW()
	if err != nil {
		t.Skipf("no versitygw: %v", err)
	}
	g, err := rig.StartVersityGW(rig.Within(t), name)
	ok(t, err)
	t.Cleanup(func() {
		if err := g.Stop(); err != nil {
			t.Errorf("stop versitygw: %v", err)
		}
	})
	s3(t, g, "/models", "-X", "PUT")
	return g
}

// s3 sends a request with curl and returns the answer's body.
func s3(t *testing.T, g *rig.VersityGW, target string, args ...string) string {
	t.Helper()
	text, err := g.Curl(rig.Within(t), target, args...)
	ok(t, err)
	return text
}

// put uploads a file with its sha256.
func put(t *testing.T, g *rig.VersityGW, target, file, sum string) {
	t.Helper()
	b, err := hex.DecodeString(sum)
	ok(t, err)
	s3(t, g, target, "-T", file, "-H", "X-Amz-Checksum-Sha256: "+base64.StdEncoding.EncodeToString(b))
}

// repo returns a new repository with a configuration.
func repo(t *testing.T, config string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "repo")
	ok(t, os.Mkdir(dir, 0o700))
	ok(t, os.WriteFile(filepath.Join(dir, "config.toml"), []byte(config), 0o600))
	return dir
}

// refused runs a fetch that must fail with an exit code and a message.
func refused(t *testing.T, repo string, code int, message string, args ...string) {
	t.Helper()
	r, err := rig.Program{Path: binary, Args: append([]string{"--repo", repo, "fetch"}, args...)}.Run(rig.Within(t))
	if err == nil || r.Code != code || !strings.Contains(r.Stderr, message) {
		t.Errorf("%q: exit code %d: %s; want %d and %q", args, r.Code, r.Stderr, code, message)
	}
}

// TestS3Object fetches an object of 100 MiB that curl has uploaded. Its sha256
// comes with it, there is no HEAD, and a repeat costs one conditional GET.
func TestS3Object(t *testing.T) {
	g := versity(t)
	file, sum := random(t, 31, 100<<20)
	put(t, g, "/models/a/big.bin", file, sum)
	dir, out := repo(t, g.Config("lab")), t.TempDir()
	if got := hypha(t, dir, "fetch", "--dry-run", "--json", "s3://lab@models/a/big.bin"); !strings.Contains(got, sum) {
		t.Errorf("dry run says %s", got)
	}
	g.Requests()
	if got := hypha(t, dir, "fetch", "s3://lab@models/a/big.bin", "-o", out); !strings.Contains(got, sum) || !strings.Contains(got, "from origin") {
		t.Errorf("fetched %s", got)
	}
	same(t, filepath.Join(out, "big.bin"), sum)
	if got := g.Requests(); len(got) < 1 || slices.ContainsFunc(got, func(r string) bool { return r != "GET /models/a/big.bin" }) {
		t.Errorf("asked %q", got)
	}
	if got := hypha(t, dir, "fetch", "s3://lab@models/a/big.bin"); !strings.Contains(got, "from store") {
		t.Errorf("fetched again %s", got)
	}
	// Another key, the same content: found by its sha256.
	put(t, g, "/models/b.bin", file, sum)
	if got := hypha(t, dir, "fetch", "s3://lab@models/b.bin"); !strings.Contains(got, "from store") {
		t.Errorf("fetched a copy %s", got)
	}
	if got, want := g.Requests(), []string{"GET /models/a/big.bin", "GET /models/b.bin"}; !slices.Equal(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}
}

// TestS3Multipart fetches an object that was uploaded in parts: there is no sha256
// of the whole, and the tag is none of its content.
func TestS3Multipart(t *testing.T) {
	g := versity(t)
	upload := regexp.MustCompile(`<UploadId>([^<]+)<`).FindStringSubmatch(s3(t, g, "/models/parts.bin?uploads=", "-X", "POST"))
	if upload == nil {
		t.Fatal("no upload id")
	}
	whole := filepath.Join(t.TempDir(), "whole")
	f, err := os.Create(whole)
	ok(t, err)
	var list strings.Builder
	for i, size := range []int64{5 << 20, 6<<20 + 1, 12345} {
		part, _ := random(t, uint64(40+i), size)
		head := s3(t, g, fmt.Sprintf("/models/parts.bin?partNumber=%d&uploadId=%s", i+1, url.QueryEscape(upload[1])), "-T", part, "-D", "-")
		tag := regexp.MustCompile(`(?i)ETag: (\S+)`).FindStringSubmatch(head)
		if tag == nil {
			t.Fatalf("no tag in %s", head)
		}
		fmt.Fprintf(&list, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", i+1, tag[1])
		b, err := os.ReadFile(part)
		ok(t, err)
		_, err = f.Write(b)
		ok(t, err)
	}
	ok(t, f.Close())
	sum, err := rig.HashFile(whole)
	ok(t, err)
	s3(t, g, "/models/parts.bin?uploadId="+url.QueryEscape(upload[1]), "-X", "POST", "-d", "<CompleteMultipartUpload>"+list.String()+"</CompleteMultipartUpload>")

	dir, out := repo(t, g.Config("lab")), t.TempDir()
	if got := hypha(t, dir, "fetch", "--json", "s3://lab@models/parts.bin", "-o", out); !strings.Contains(got, sum) {
		t.Errorf("fetched %s", got)
	}
	same(t, filepath.Join(out, "parts.bin"), sum)
	g.Requests()
	if got := hypha(t, dir, "fetch", "s3://lab@models/parts.bin"); !strings.Contains(got, "from store") {
		t.Errorf("fetched again %s", got)
	}
	if got, want := g.Requests(), []string{"GET /models/parts.bin"}; !slices.Equal(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}
	// A listing names the same object by its tag.
	if got := hypha(t, dir, "fetch", "s3://lab@models/par*"); !strings.Contains(got, "from store") {
		t.Errorf("fetched what is listed %s", got)
	}
	refused(t, dir, 1, "checksum does not match", `{"type":"s3","endpoint":"lab","bucket":"models","key":"parts.bin","filename":"x","checksum":"sha256:`+strings.Repeat("0", 64)+`"}`)
}

// TestS3Names fetches keys that are hard to write, one by one and by their prefix.
func TestS3Names(t *testing.T) {
	g := versity(t)
	names := []string{
		"with space.txt", "ünï/çöde 文字.bin", "plus+and%25percent%", "a&b=c;d,e", "quote'\"<>", "tilde~(1)[2]{3}!", "hash#question?.txt", "@$:x",
		"deep/er/and/deeper/file",
	}
	var keys []string
	for _, name := range names {
		keys = append(keys, "odd/"+escaped(name))
	}
	file, sum := random(t, 50, 1000)
	ok(t, g.PutAll(rig.Within(t), "models", file, keys))
	dir := repo(t, g.Config("lab"))
	for _, name := range names {
		out := t.TempDir()
		hypha(t, dir, "fetch", "s3://lab@models/odd/"+name, "-o", out)
		entries, err := os.ReadDir(out)
		ok(t, err)
		if len(entries) != 1 {
			t.Fatalf("%q: %d files", name, len(entries))
		}
		same(t, filepath.Join(out, entries[0].Name()), sum) // what no file can be called is called otherwise
	}
	out := t.TempDir()
	hypha(t, dir, "fetch", "s3://lab@models/odd/", "-o", out)
	for _, name := range names {
		same(t, filepath.Join(out, filepath.FromSlash(name)), sum)
	}
	hypha(t, dir, "fetch", "s3://lab@models/odd/*/deeper/*", "-o", out+"/some")
	same(t, out+"/some/deep/er/and/deeper/file", sum)

	// versitygw takes // for / in a key, so that this is the same object.
	hypha(t, dir, "fetch", "s3://lab@models/odd//with space.txt", "-o", out+"/double")
	same(t, out+"/double/with space.txt", sum)
	// It also resolves dots, out of the bucket if it were asked to.
	refused(t, dir, 2, "segment . or ..", "s3://lab@models/x/../odd/with space.txt")
	refused(t, dir, 2, "segment . or ..", "s3://lab@other/../models/odd/with space.txt")
	refused(t, dir, 3, "no such object", "s3://lab@models/odd/with%20space.txt")
}

// escaped returns a key as it stands in a URL.
func escaped(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(url.QueryEscape(key), "+", "%20"), "%2F", "/")
}

// TestS3Prefix fetches a prefix of two pages of keys: no request but the pages
// and the objects' own, and again with the pages alone.
func TestS3Prefix(t *testing.T) {
	g := versity(t)
	const count = 1001
	keys := make([]string, 0, count+2)
	for i := range count {
		keys = append(keys, fmt.Sprintf("many/%02d/%04d.txt", i%10, i))
	}
	file, sum := random(t, 60, 100)
	ok(t, g.PutAll(rig.Within(t), "models", file, append(keys, "many/other.bin", "manyfold.txt")))
	dir, out := repo(t, g.Config("lab")), t.TempDir()
	g.Requests()
	listed := strings.Split(hypha(t, dir, "fetch", "--dry-run", "s3://lab@models/many/*.txt"), "\n")
	if got := g.Requests(); len(listed) != count || len(got) != 2 {
		t.Fatalf("%d items of %d keys, with %q", len(listed), count, got)
	}
	hypha(t, dir, "fetch", "s3://lab@models/many/03/", "-o", out)
	for i := 3; i < count; i += 10 {
		same(t, filepath.Join(out, fmt.Sprintf("%04d.txt", i)), sum)
	}
	entries, err := os.ReadDir(out)
	ok(t, err)
	if got := g.Requests(); len(entries) != 100 || len(got) > 101 || !strings.HasPrefix(got[0], "GET /models/?") {
		t.Errorf("%d files with %d requests, the first of them %q", len(entries), len(got), got[0])
	}
	hypha(t, dir, "fetch", "s3://lab@models/many/03/", "-o", t.TempDir())
	if got := g.Requests(); len(got) != 1 {
		t.Errorf("again with %q", got)
	}
	refused(t, dir, 3, "no such object", "s3://lab@models/none/")
}

// TestS3Refused: what can't be had is told apart.
func TestS3Refused(t *testing.T) {
	g := versity(t)
	file, sum := random(t, 70, 1000)
	put(t, g, "/models/k", file, sum)
	wrong := strings.ReplaceAll(g.Config("wrong"), rig.S3SecretKey, "guess")
	nobody := strings.ReplaceAll(g.Config("nobody"), rig.S3AccessKey, "nobody")
	public := fmt.Sprintf("[s3.public]\nendpoint = %q\ncredentials = \"none\"\n", g.URL)
	dir := repo(t, strings.Join([]string{g.Config("lab"), wrong, nobody, public}, "\n"))
	for _, tc := range []struct {
		ref     string
		code    int
		message string
	}{
		{"s3://lab@models/none", 3, "no such object"},
		{"s3://lab@nowhere/k", 3, "no such bucket"},
		{"s3://lab@nowhere/", 3, "no such bucket"},
		{"s3://wrong@models/k", 1, "signature does not match"},
		{"s3://wrong@models/", 1, "signature does not match"},
		{"s3://nobody@models/k", 1, "access key is not known"},
		{"s3://public@models/k", 1, "access denied"},
		{"s3://other@models/k", 2, "no alias"},
		{`{"type":"s3","endpoint":"lab","bucket":"models","key":"k","version_id":"01M7ZPEWZ297G2VA4K0MPMGFT4"}`, 3, "no such version"},
	} {
		refused(t, dir, tc.code, tc.message, tc.ref)
	}
	// A region that is not the endpoint's is mended by what it answers.
	hypha(t, repo(t, g.Config("lab", `region = "eu-north-9"`)), "fetch", "s3://lab@models/k")
}

// TestS3Environment: the command uses what Amazon's tools would, without a table.
func TestS3Environment(t *testing.T) {
	g := versity(t)
	file, sum := random(t, 71, 1000)
	put(t, g, "/models/k", file, sum)
	keys := filepath.Join(t.TempDir(), "credentials")
	ok(t, os.WriteFile(keys, fmt.Appendf(nil, "[lab]\naws_access_key_id = %s\naws_secret_access_key = %s\n", rig.S3AccessKey, rig.S3SecretKey), 0o600))
	for name, env := range map[string][]string{
		"variables":   {"AWS_ACCESS_KEY_ID=" + rig.S3AccessKey, "AWS_SECRET_ACCESS_KEY=" + rig.S3SecretKey, "AWS_PROFILE=none"},
		"shared file": {"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY=", "AWS_SHARED_CREDENTIALS_FILE=" + keys, "AWS_PROFILE=lab"},
	} {
		t.Run(name, func(t *testing.T) {
			env := append(env, "AWS_ENDPOINT_URL="+g.URL, "AWS_REGION=us-east-1", "AWS_CONFIG_FILE="+keys+"-none", "AWS_SESSION_TOKEN=")
			r, err := rig.Program{Path: binary, Args: []string{"--repo", filepath.Join(t.TempDir(), "repo"), "fetch", "s3://models/k"}, Env: env}.Run(rig.Within(t))
			ok(t, err)
			if !strings.Contains(r.Stdout, sum) {
				t.Errorf("fetched %s", r.Stdout)
			}
		})
	}
}

// TestS3Versions fetches an old version by its id: again without any request.
func TestS3Versions(t *testing.T) {
	g := versity(t)
	s3(t, g, "/models?versioning=", "-X", "PUT", "-d", `<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>`)
	var ids, sums []string
	for i := range 2 {
		file, sum := random(t, uint64(80+i), 1<<20)
		head := s3(t, g, "/models/k", "-T", file, "-D", "-")
		id := regexp.MustCompile(`(?i)X-Amz-Version-Id: (\S+)`).FindStringSubmatch(head)
		if id == nil {
			t.Fatalf("no version in %s", head)
		}
		ids, sums = append(ids, id[1]), append(sums, sum)
	}
	dir, out := repo(t, g.Config("lab")), t.TempDir()
	hypha(t, dir, "fetch", "s3://lab@models/k", "-o", out)
	same(t, filepath.Join(out, "k"), sums[1])
	for i := range 2 {
		ref := `{"type":"s3","endpoint":"lab","bucket":"models","key":"k","version_id":"` + ids[0] + `","filename":"old"}`
		g.Requests()
		hypha(t, dir, "fetch", ref, "-o", out)
		same(t, filepath.Join(out, "old"), sums[0])
		if got := g.Requests(); i == 1 && len(got) > 0 {
			t.Errorf("again with %q", got)
		}
	}
}

// TestS3Changed: an object that is replaced while it is downloaded gives an
// error and no file, then the new content; never a mix.
func TestS3Changed(t *testing.T) {
	g := versity(t)
	before, oldSum := random(t, 90, 8<<20)
	after, newSum := random(t, 91, 8<<20)
	put(t, g, "/models/k", before, oldSum)

	var swapped atomic.Bool
	var left atomic.Int64 // bytes that are answered before
	left.Store(1 << 20)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || swapped.Load() {
			g.ServeHTTP(w, r)
			return
		}
		// An answer breaks in the middle, and the object changes.
		g.ServeHTTP(&breaking{ResponseWriter: w, left: &left, broke: func() {
			if swapped.CompareAndSwap(false, true) {
				if _, err := g.Curl(r.Context(), "/models/k", "-T", after); err != nil {
					t.Error(err)
				}
			}
			panic(http.ErrAbortHandler)
		}}, r)
	}))
	defer front.Close()

	dir, out := repo(t, strings.ReplaceAll(g.Config("lab"), g.URL, front.URL)), t.TempDir()
	refused(t, dir, 1, "changed", "s3://lab@models/k", "-o", out)
	if entries, err := os.ReadDir(out); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
	if !swapped.Load() {
		t.Fatal("the object was not replaced")
	}
	hypha(t, dir, "fetch", "s3://lab@models/k", "-o", out)
	same(t, filepath.Join(out, "k"), newSum)
}

// breaking calls broke, which does not return, before it would pass on more
// than left bytes, which it has in common with others.
type breaking struct {
	http.ResponseWriter
	left  *atomic.Int64
	broke func()
}

func (b *breaking) Write(p []byte) (int, error) {
	if b.left.Add(-int64(len(p))) < 0 {
		b.broke()
	}
	return b.ResponseWriter.Write(p)
}

// TestS3Bridge: jobs fetch with the node's credentials what the operator lets
// them; what one has got, the next one gets from the store.
func TestS3Bridge(t *testing.T) {
	g := versity(t)
	s3(t, g, "/private", "-X", "PUT")
	file, sum := random(t, 95, 3<<20)
	put(t, g, "/models/m/big.bin", file, sum)
	put(t, g, "/private/big.bin", file, sum)
	dir := repo(t, g.Config("lab", `buckets = ["models"]`))
	node, err := rig.StartNode(rig.Within(t), rig.Config{Binary: binary, Repo: dir})
	ok(t, err)
	t.Cleanup(func() {
		if err := node.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	for i, tc := range []struct {
		ref    string
		from   string
		status int
		code   string
	}{
		{ref: `{"type":"s3","endpoint":"lab","bucket":"models","key":"m/big.bin"}`, from: "origin"},
		{ref: `{"type":"S3","endpoint":"lab","bucket":"models","prefix":"m/","allow_patterns":["*.bin"]}`, from: "store"},
		{ref: `"s3://lab@models/m/big.bin"`, from: "store"},
		{ref: `"s3://lab@private/big.bin"`, status: http.StatusForbidden, code: "forbidden_address"},
		{ref: `"s3://models/m/big.bin"`, status: http.StatusForbidden, code: "forbidden_address"},
		{ref: `"s3://other@models/m/big.bin"`, status: http.StatusBadRequest, code: "invalid_request"},
		{ref: `"s3://lab@models/none"`, status: http.StatusNotFound, code: "not_found"},
		{
			ref:    `{"type":"s3","endpoint":"lab","bucket":"models","key":"m/big.bin","checksum":"sha256:` + strings.Repeat("0", 64) + `"}`,
			status: http.StatusUnprocessableEntity, code: "checksum_mismatch",
		},
	} {
		job, err := node.CreateJob(rig.Within(t))
		ok(t, err)
		got, err := job.Fetch(rig.Within(t), json.RawMessage(tc.ref))
		if tc.code != "" {
			if refused, isRefusal := errors.AsType[*rig.Refused](err); !isRefusal || refused.Status != tc.status || refused.Code != tc.code {
				t.Errorf("%s: %v", tc.ref, err)
			}
			continue
		}
		ok(t, err)
		if len(got) != 1 || got[0].Path != "artifacts/big.bin" || got[0].Checksum != "sha256:"+sum || got[0].Metadata.From != tc.from || got[0].Metadata.Source != "s3" {
			t.Fatalf("fetch %d: %+v", i, got)
		}
		same(t, filepath.Join(job.WorkDir, got[0].Path), sum)
	}
}
