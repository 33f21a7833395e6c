package hubtest

import (
	"cmp"
	"crypto/sha1" //nolint:gosec // git's object hash
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// repo is a repository with its history.
type repo struct {
	Repo
	commits []*commit
}

// commit is a state of a repository.
type commit struct {
	sha   string
	files map[string]*file
	paths []string // sorted
}

// file is one file of a commit.
type file struct {
	path    string
	content Content
	lfs     bool
	sha256  string
	oid     string // git's sha1: of the content, or of the pointer of a large file
	pointer string // of a large file
	xet     func() (*xetFile, error)
}

// newRepo returns a repository without a commit.
func newRepo(r Repo) *repo {
	r.Type = cmp.Or(r.Type, "model")
	if r.LFS == nil {
		r.LFS = isLarge
	}
	return &repo{Repo: r}
}

// isLarge tells which files are large files by default.
func isLarge(name string, size int64) bool {
	switch path.Ext(name) {
	case ".safetensors", ".bin", ".gguf", ".pt", ".onnx", ".parquet":
		return true
	}
	return size >= 1<<20
}

// commit adds a state; its name depends on what is in it and before it.
func (r *repo) commit(files map[string]Content) (string, error) {
	c := &commit{files: map[string]*file{}, paths: slices.Sorted(maps.Keys(files))}
	sum := sha1.New() //nolint:gosec // git's object hash
	fmt.Fprintf(sum, "%s %s %d\n", r.Type, r.ID, len(r.commits))
	for _, p := range c.paths {
		f, err := newFile(p, files[p], r.LFS(p, files[p].Size()))
		if err != nil {
			return "", err
		}
		c.files[p] = f
		fmt.Fprintf(sum, "%s %s\n", f.oid, p)
	}
	c.sha = hex.EncodeToString(sum.Sum(nil))
	r.commits = append(r.commits, c)
	return c.sha, nil
}

// newFile returns a file with its digests.
func newFile(name string, content Content, lfs bool) (*file, error) {
	d, err := content.digests()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	f := &file{path: name, content: content, lfs: lfs, sha256: d.sha256, oid: d.git, xet: newXetFile(content)}
	if lfs {
		f.pointer = fmt.Sprintf("version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", d.sha256, content.Size())
		h := gitHash(int64(len(f.pointer)))
		h.Write([]byte(f.pointer))
		f.oid = hex.EncodeToString(h.Sum(nil))
	}
	return f, nil
}

// etag returns what X-Linked-Etag says, with quotes.
func (f *file) etag() string {
	if f.lfs {
		return `"` + f.sha256 + `"`
	}
	return `"` + f.oid + `"`
}

// head returns the newest commit.
func (r *repo) head() *commit { return r.commits[len(r.commits)-1] }

// at returns the commit that a revision names, nil if there is none.
func (r *repo) at(revision string) *commit {
	switch revision {
	case "main", "HEAD", "refs/heads/main", "refs/pr/1":
		return r.head()
	}
	for _, c := range r.commits {
		if c.sha == revision {
			return c
		}
	}
	return nil
}

// hasDir tells whether a path is a directory.
func (c *commit) hasDir(dir string) bool {
	return slices.ContainsFunc(c.paths, func(p string) bool { return strings.HasPrefix(p, dir+"/") })
}

// treeEntry is a file or directory as the API lists it.
type treeEntry struct {
	Type string   `json:"type"`
	OID  string   `json:"oid"`
	Size int64    `json:"size"`
	Path string   `json:"path"`
	LFS  *treeLFS `json:"lfs,omitempty"`
	Xet  string   `json:"xetHash,omitempty"`

	LastCommit *treeCommit `json:"lastCommit,omitempty"`
	Security   *struct{}   `json:"securityFileStatus,omitempty"`
}

// treeLFS describes a large file.
type treeLFS struct {
	OID         string `json:"oid"`
	Size        int64  `json:"size"`
	PointerSize int    `json:"pointerSize"`
}

// treeCommit is the commit that changed an entry last.
type treeCommit struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Date  string `json:"date"`
}

// entry returns a file as the API lists it.
func (f *file) entry() treeEntry {
	e := treeEntry{Type: "file", OID: f.oid, Size: f.content.Size(), Path: f.path}
	if f.lfs {
		e.LFS = &treeLFS{OID: f.sha256, Size: f.content.Size(), PointerSize: len(f.pointer)}
	}
	return e
}

// list returns the entries below a directory ("": all), directories too, in
// order of path; not recursive: its own entries only.
func (c *commit) list(dir string, recursive bool) []treeEntry {
	prefix := ""
	if dir != "" {
		prefix = dir + "/"
	}
	var out []treeEntry
	seen := map[string]bool{}
	for _, p := range c.paths {
		rest, ok := strings.CutPrefix(p, prefix)
		if !ok {
			continue
		}
		parts := strings.Split(rest, "/")
		for i := 1; i < len(parts) && (recursive || i == 1); i++ {
			if d := prefix + strings.Join(parts[:i], "/"); !seen[d] {
				seen[d] = true
				out = append(out, dirEntry(d))
			}
		}
		if recursive || len(parts) == 1 {
			out = append(out, c.files[p].entry())
		}
	}
	slices.SortFunc(out, func(a, b treeEntry) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// xetHash stands for the hash that Xet has of a file.
func (f *file) xetHash() string {
	sum := sha256.Sum256([]byte("xet" + f.sha256))
	return hex.EncodeToString(sum[:])
}

// dirEntry returns a directory as the API lists it.
func dirEntry(name string) treeEntry {
	sum := sha1.Sum([]byte(name)) //nolint:gosec // git's object hash
	return treeEntry{Type: "directory", OID: hex.EncodeToString(sum[:]), Path: name}
}
