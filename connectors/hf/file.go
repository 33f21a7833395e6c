package hf

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // git's object hash
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/internal/safename"
)

// File is a file of a repository at a commit, as the hub has told of it.
type File struct {
	RepoType   string // one of connectors' Repo constants
	Repository string // "owner/name" or "name"
	Commit     string // 40 hex digits
	Path       string
	Size       int64              // bytes; -1 if unknown
	SHA256     *[sha256.Size]byte // of a large file; nil if unknown
	GitSHA1    *[sha1.Size]byte   // of the content, if it is a small file; nil if unknown
	ETag       string             // as published, without quotes; "" if none
	XetHash    string             // by which the Xet storage knows a large file; "" if unknown
}

// Item returns the item of a file that is known already: no request. Its content
// is fetched with the token ("": anonymously) and, unless it is public, in the
// token's scope. A name that is not safe is an ErrUpstream.
func (c *Connector) Item(f File, token connectors.Secret, public bool, acc connectors.Access) (connectors.Item, error) {
	ref := connectors.Ref{Type: connectors.TypeHuggingFace, RepoType: f.RepoType, Repository: f.Repository, Revision: f.Commit}
	q := c.newQuery(ref, token, acc)
	q.commit, q.public = f.Commit, public
	if public {
		q.scope = ""
	}
	return q.itemOf(f)
}

// Endpoint returns the hub's base URL, without a trailing slash.
func (c *Connector) Endpoint() string { return c.cfg.Endpoint }

// Scope returns the scope of what is fetched with a token; "" without one.
func Scope(token connectors.Secret) string {
	if token == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(token.Reveal()))
	return hex.EncodeToString(sum[:16])
}

// Commit returns what a repository's information says of a revision: the commit,
// and whether anybody may have the content, for certain. "" if it is no such
// information.
func Commit(info []byte, repoType string) (commit string, public bool) {
	var i repoInfo
	if json.Unmarshal(info, &i) != nil || !isCommit(i.SHA) {
		return "", false
	}
	return i.SHA, i.public(repoType)
}

// IsCommit tells whether a revision is a commit by its form: 40 hex digits.
func IsCommit(revision string) bool { return isCommit(revision) }

// Files yields the files in a listing of a repository at a commit, as the routes
// tree and paths-info give it. What is no file, or has no safe name, is left out.
func Files(listing []byte, of File) ([]File, error) {
	var list []entry
	if err := json.NewDecoder(bytes.NewReader(listing)).Decode(&list); err != nil {
		return nil, fmt.Errorf("%w: a listing is no JSON of that shape", connectors.ErrUpstream)
	}
	ref := connectors.Ref{RepoType: of.RepoType, Repository: of.Repository}
	files := make([]File, 0, len(list))
	for _, e := range list {
		if e.Type == "file" && e.Size >= 0 && safename.Path(e.Path) == nil {
			files = append(files, e.file(ref, of.Commit))
		}
	}
	return files, nil
}

// file returns what an entry says of a file.
func (e entry) file(ref connectors.Ref, commit string) File {
	f := File{RepoType: ref.RepoType, Repository: ref.Repository, Commit: commit, Path: e.Path, Size: e.Size}
	if e.LFS != nil { // e.OID names the pointer then; a redacted digest is none
		if f.SHA256 = parseSHA256(e.LFS.OID); f.SHA256 != nil {
			f.ETag = e.LFS.OID
			f.XetHash = e.Xet
		}
	} else if f.GitSHA1 = parseSHA1(e.OID); f.GitSHA1 != nil {
		f.ETag = e.OID
	}
	return f
}

// WithETag returns the file with the identity that an entity tag stands for: the
// sha256 of a large file, git's sha1 of a small one, or none.
func (f File) WithETag(tag string) File {
	if f.ETag = tag; f.SHA256 == nil || hex.EncodeToString(f.SHA256[:]) != tag {
		f.XetHash = "" // it is of another content
	}
	f.SHA256, f.GitSHA1 = parseSHA256(tag), parseSHA1(tag)
	return f
}
