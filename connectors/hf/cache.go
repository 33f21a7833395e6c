package hf

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/hypha-node/hypha-node/connectors"
)

// maxNeighbours is how many repositories of a cache are looked through for a
// content that the item's own repository has not got there.
const maxNeighbours = 4096

// Cache finds contents in the cache that Hugging Face's own tools keep on this
// machine (docs/hub/local-cache.md of the Hub: <repository>/blobs/<digest>). It
// reads and never changes anything; what it finds is not believed, but compared
// with its digest by who takes it. Safe for concurrent use.
type Cache struct {
	// Dir is where the repositories are: "…/huggingface/hub". It need not exist.
	Dir string
	// Shared takes a directory of another user's. Else it must be the own user's
	// or root's.
	Shared bool
}

// CacheDir returns where Hugging Face's own tools keep what they fetch: the
// variable HF_HUB_CACHE (or HUGGINGFACE_HUB_CACHE), else $HF_HOME/hub, HF_HOME
// being by default $XDG_CACHE_HOME/huggingface or ~/.cache/huggingface; "" if no
// directory is known. lookup is os.LookupEnv, home the user's home directory.
func CacheDir(lookup func(string) (string, bool), home string) string {
	get := func(name string) string {
		value, _ := lookup(name)
		return strings.TrimSpace(value)
	}
	for _, name := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"} {
		if p := get(name); p != "" {
			return expandHome(p, home)
		}
	}
	if p := homeDir(get, home); p != "" {
		return filepath.Join(p, "hub")
	}
	return ""
}

// Open opens what the cache has under the digest of an item of a hub; nil, and no
// error, if it has nothing. Large files are looked for in every repository, small
// ones in the item's own. The caller closes the file.
func (c Cache) Open(it connectors.Item) (_ *os.File, err error) {
	digest := blobName(it)
	folder := folderOf(it.Key)
	if digest == "" || folder == "" || !filepath.IsAbs(c.Dir) {
		return nil, nil //nolint:nilnil // as the comment says
	}
	root, err := os.OpenRoot(c.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // as the comment says
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if err := c.trusted(root); err != nil {
		return nil, err
	}
	f, err := openBlob(root, folder, digest)
	if f != nil || err != nil || it.SHA256 == nil {
		return f, err
	}
	return openElsewhere(root, digest)
}

// trusted returns why a cache is not read, if it is not.
func (c Cache) trusted(root *os.Root) error {
	info, err := root.Stat(".")
	if err != nil {
		return err
	}
	if !c.Shared && !ownedByUs(info) {
		return fmt.Errorf("%s belongs to another user: to read it, name it in the configuration (hf_cache)", c.Dir)
	}
	return nil
}

// openElsewhere looks for a content in all repositories.
func openElsewhere(root *os.Root, digest string) (_ *os.File, err error) {
	dir, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	names, err := dir.Readdirnames(maxNeighbours)
	if err != nil && len(names) == 0 {
		return nil, nil //nolint:nilnil // it is empty
	}
	for _, name := range names {
		if !strings.Contains(name, "s--") { // models--, datasets--, spaces--
			continue
		}
		if f, err := openBlob(root, name, digest); f != nil || err != nil {
			return f, err
		}
	}
	return nil, nil //nolint:nilnil // it has nothing
}

// openBlob opens a file of a repository, nil if there is none. What is no regular
// file (a link, a pipe) or can't be read is none: the cache is somebody else's, and
// changes while it is looked at.
func openBlob(root *os.Root, folder, digest string) (*os.File, error) {
	name := filepath.Join(folder, "blobs", digest)
	info, err := root.Lstat(name)
	if err != nil || !info.Mode().IsRegular() {
		return nil, nil //nolint:nilnil // as the comment says
	}
	f, err := root.OpenFile(name, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, nil //nolint:nilnil // as the comment says
	}
	if info, err = f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, f.Close()
	}
	return f, nil
}

// blobName returns the name of an item's content: its sha256, or git's sha1.
func blobName(it connectors.Item) string {
	switch {
	case it.SHA256 != nil:
		return hex.EncodeToString(it.SHA256[:])
	case it.GitSHA1 != nil:
		return hex.EncodeToString(it.GitSHA1[:])
	}
	return ""
}

// folderOf returns the folder of the repository that a key names ("hf:<type>/<repo>@…"),
// "" if it is no key of a hub's file.
func folderOf(key string) string {
	rest, ok := strings.CutPrefix(key, "hf:")
	if !ok {
		return ""
	}
	repo, _, ok := strings.Cut(rest, "@")
	if !ok {
		return ""
	}
	kind, id, _ := strings.Cut(repo, "/")
	return kind + "s--" + strings.ReplaceAll(id, "/", "--")
}
