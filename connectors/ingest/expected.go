package ingest

import (
	"crypto/sha1" //nolint:gosec // git's object hash
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/dag"
)

// expected is what was announced of a content.
type expected struct {
	size   int64 // bytes; -1 if unknown
	sha256 *[sha256.Size]byte
	git    *[sha1.Size]byte
}

func expect(it connectors.Item) expected {
	return expected{size: it.Size, sha256: it.SHA256, git: it.GitSHA1}
}

// digest tells whether content can be verified.
func (x expected) digest() bool { return x.sha256 != nil || x.git != nil }

// gitHash returns what computes the git hash of a content, and as what writes to it;
// nil if it is not needed.
func (x expected) gitHash() (hash.Hash, []io.Writer) {
	if x.git == nil {
		return nil, nil
	}
	git := sha1.New() //nolint:gosec // git's object hash
	fmt.Fprintf(git, "blob %d\x00", x.size)
	return git, []io.Writer{git}
}

// with adds what the origin said when it was opened; it must not contradict.
func (x expected) with(it connectors.Item, body *connectors.Body) (expected, error) {
	if body.Size >= 0 {
		if x.size >= 0 && x.size != body.Size {
			return x, mismatch(it, fmt.Sprintf("%d bytes", x.size), fmt.Sprintf("%d bytes", body.Size))
		}
		x.size = body.Size
	}
	if body.SHA256 != nil {
		if x.sha256 != nil && *x.sha256 != *body.SHA256 {
			return x, mismatch(it, sha256Key(*x.sha256), sha256Key(*body.SHA256))
		}
		x.sha256 = body.SHA256
	}
	if x.git != nil && x.size < 0 {
		return x, &connectors.Error{Op: "open", Source: it.URL, Err: fmt.Errorf("%w: it states no size, which its git hash needs", connectors.ErrUpstream)}
	}
	return x, nil
}

// check compares a file with what was announced. git is nil or has seen the content.
func (x expected) check(it connectors.Item, f dag.File, git hash.Hash) error {
	if x.size >= 0 && x.size != f.Size {
		return mismatch(it, fmt.Sprintf("%d bytes", x.size), fmt.Sprintf("%d bytes", f.Size))
	}
	if x.sha256 != nil && *x.sha256 != f.SHA256 {
		return mismatch(it, sha256Key(*x.sha256), sha256Key(f.SHA256))
	}
	if x.git != nil && git != nil {
		if sum := [sha1.Size]byte(git.Sum(nil)); sum != *x.git {
			return mismatch(it, gitKey(*x.git), gitKey(sum))
		}
	}
	return nil
}

func mismatch(it connectors.Item, want, got string) error {
	source := it.URL
	if source == "" && it.Root.Defined() {
		source = it.Root.String()
	}
	return &connectors.Error{Op: "verify", Source: source, Err: fmt.Errorf("%w: expected %s, got %s", connectors.ErrMismatch, want, got)}
}
