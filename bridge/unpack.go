package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/dag"
	"github.com/hypha-node/hypha-node/internal/safename"
)

// unpack puts the content of an item into the work directory, under a new name.
func (j *Job) unpack(ctx context.Context, it *item, dir string, replay bool) (Received, error) {
	got := Received{
		Size: it.file.Size, FromPeer: it.from, Sequence: it.seq, Name: it.name,
		CID: it.file.Root.String(), Checksum: checksum(it.file.SHA256),
	}
	if got.Path = j.placed(it, dir); got.Path != "" && !replay {
		return got, nil
	}
	if err := j.slot(ctx); err != nil {
		return Received{}, err
	}
	defer func() { <-j.slots }()
	if err := j.limits.bring(it.file.Size); err != nil {
		return Received{}, err
	}
	name, info, err := j.unpackIn(ctx, it, dir)
	if err != nil {
		j.limits.refund(it.file.Size)
		return Received{}, fmt.Errorf("receive item %d: %w", it.seq, err)
	}
	got.Path = name
	if !replay {
		j.inbox.mu.Lock()
		it.place, it.found = name, info
		j.inbox.mu.Unlock()
	}
	return got, nil
}

// placed returns where the item lies in a directory for somebody who did not
// take it, if it is untouched.
func (j *Job) placed(it *item, dir string) string {
	j.inbox.mu.Lock()
	place, found := it.place, it.found
	j.inbox.mu.Unlock()
	if place == "" || path.Dir(place) != dir {
		return ""
	}
	now, err := j.root.Lstat(place)
	if err != nil || !os.SameFile(now, found) || now.Size() != found.Size() || !now.ModTime().Equal(found.ModTime()) {
		return ""
	}
	return place
}

// unpackIn writes the content into a temporary file and gives it its name.
func (j *Job) unpackIn(ctx context.Context, it *item, dir string) (name string, info fs.FileInfo, err error) {
	staging, err := openDir(j.root, temporary)
	if err != nil {
		return "", nil, fmt.Errorf("open temporary directory: %w", err)
	}
	defer func() { err = errors.Join(err, staging.Close()) }()
	tmp := tempName()
	defer func() { err = errors.Join(err, removeTemp(staging, tmp)) }()
	if err := j.exportFile(ctx, it.file, staging, tmp); err != nil {
		return "", nil, err
	}
	return j.place(staging, tmp, dir, it)
}

// exportFile writes a stored file under a temporary name, verified.
func (j *Job) exportFile(ctx context.Context, f dag.File, dir *os.Root, tmp string) error {
	share, err := j.memory().Take(ctx, dag.ExportMemory(f.Size))
	if err != nil {
		return err
	}
	defer share.Release()
	w, err := dag.Export(ctx, j.store, f.Root, dir, tmp, dag.ExportOptions{FileMode: fileMode, DirMode: dirMode})
	if err != nil {
		return err
	}
	if w.Size != f.Size || w.SHA256 != f.SHA256 {
		return fmt.Errorf("wrote %d bytes with %s, expected %d with %s: %w",
			w.Size, checksum(w.SHA256), f.Size, checksum(f.SHA256), connectors.ErrMismatch)
	}
	return nil
}

// mostPlaces is how many files of one sequence and name may be in a directory:
// one for each time that it was given.
const mostPlaces = 1000

// place links the temporary file to a name that is not taken.
func (j *Job) place(staging *os.Root, tmp, dir string, it *item) (string, fs.FileInfo, error) {
	made, err := staging.Lstat(tmp)
	if err != nil {
		return "", nil, err
	}
	opened, err := openDir(j.root, dir)
	if err != nil {
		return "", nil, err
	}
	if err := opened.Close(); err != nil {
		return "", nil, err
	}
	base := baseName(it.name)
	for n := range mostPlaces {
		name := fmt.Sprintf("%s/%d-%s", dir, it.seq, base)
		if n > 0 {
			name = fmt.Sprintf("%s/%d.%d-%s", dir, it.seq, n, base)
		}
		err := j.settleAt(path.Join(temporary, tmp), name)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return "", nil, pathError(name, err)
		}
		info, err := j.root.Lstat(name)
		if err != nil {
			return "", nil, pathError(name, err)
		}
		if !os.SameFile(made, info) {
			return "", nil, &PathError{Path: name, Err: errors.New("was changed while it was written")}
		}
		return name, info, nil
	}
	return "", nil, &PathError{Path: dir, Err: fmt.Errorf("holds item %d %d times", it.seq, mostPlaces)}
}

// baseName returns a safe name like the one that a sender gave, short enough
// that a sequence fits before it.
func baseName(name string) string {
	name = name[strings.LastIndexAny(name, `/\`)+1:]
	base := safename.Clean(name, "file")
	const most = safename.MaxSegment - 32 // bytes: two numbers and their signs
	if len(base) <= most {
		return base
	}
	// The end tells more than the middle: it has the suffix.
	ext := path.Ext(base)
	if len(ext) > 32 {
		ext = ""
	}
	return strings.ToValidUTF8(base[:most-len(ext)], "") + ext
}

// settleAt gives a file its name unless that is taken: fs.ErrExist. Where the
// file system has no hard links, somebody who takes the name in the same moment
// loses it.
func (j *Job) settleAt(tmp, name string) error {
	err := j.root.Link(tmp, name)
	unsupported := func(e error) bool { return errors.Is(err, e) }
	if !slices.ContainsFunc([]error{syscall.EPERM, syscall.ENOTSUP, syscall.ENOSYS, syscall.EMLINK, errors.ErrUnsupported}, unsupported) {
		return err
	}
	if _, err := j.root.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
		return cmp.Or(err, fs.ErrExist)
	}
	return j.root.Rename(tmp, name)
}
