package jobs

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/dag"
	"github.com/hypha-node/hypha-node/internal/safename"
)

// Bounds of what a job's record says of its outputs.
const (
	maxOutputs     = 1000
	maxOutputNames = 64 << 10 // bytes of their paths together
)

// publish stores and pins what the job's patterns match. A pattern that matches
// nothing is an error, after the others have been stored.
func (s *Supervisor) publish(ctx context.Context, id string, rec *record) error {
	if len(rec.Spec.Outputs) == 0 {
		return nil
	}
	root, err := os.OpenRoot(s.place.workDir(id, *rec))
	if err != nil {
		return err
	}
	names, err := matches(root, rec.Spec.Outputs)
	for _, name := range names {
		if ctx.Err() != nil {
			break
		}
		out, perr := s.store(ctx, root, outputOf{id, name, bridge.OwnScope(id, rec.Created), rec.Spec.Announce})
		if perr != nil {
			err = errors.Join(err, fmt.Errorf("output %s: %w", name, perr))
			break
		}
		rec.Outputs = append(rec.Outputs, out)
	}
	return errors.Join(err, ctx.Err(), root.Close())
}

// outputOf is one output of a job.
type outputOf struct {
	job, name string
	own       string // scope of the job
	announce  bool
}

// into returns where the output goes, and who judges each file of it.
func (o outputOf) into(ctx context.Context, store blockstore.Store) (blockstore.Store, func(dag.File) (map[string][]byte, error)) {
	if !o.announce {
		return store.Scope(o.own), nil
	}
	return store, func(f dag.File) (map[string][]byte, error) {
		return nil, bridge.MayPublish(ctx, store, o.own, f.Root)
	}
}

// store stores and pins one output.
func (s *Supervisor) store(ctx context.Context, root *os.Root, o outputOf) (Output, error) {
	id, name, announce := o.job, o.name, o.announce
	defer s.conf.Hold()() // until it is pinned
	info, err := root.Lstat(name)
	if err != nil {
		return Output{}, err
	}
	out := Output{Path: name}
	take := s.storeFile
	if info.IsDir() {
		take = s.storeTree
	}
	c, err := take(ctx, root, &out, o)
	if announce && errors.Is(err, connectors.ErrUnauthorized) { // it stays the job's
		announce, o.announce = false, false
		c, err = take(ctx, root, &out, o)
	}
	if err == nil {
		err = s.conf.Store.Admit(ctx, c, o.own)
	}
	if err != nil {
		return Output{}, err
	}
	out.CID = c.String()
	if err := s.conf.Store.Pin(ctx, blockstore.Pin{Root: c, Name: bridge.MatchedPin(id, announce)}); err != nil {
		return Output{}, err
	}
	if announce && s.conf.Announce != nil {
		if err := s.conf.Announce(ctx, c); err != nil { // the node announces again what is pinned
			s.log.Warn("output not announced", slog.String("job", id), slog.String("cid", out.CID), slog.Any("err", err))
		}
	}
	return out, nil
}

func (s *Supervisor) storeTree(ctx context.Context, root *os.Root, out *Output, o outputOf) (cid.Cid, error) {
	share, err := s.memory().Take(ctx, dag.ImportMemory(-1))
	if err != nil {
		return cid.Undef, err
	}
	defer share.Release()
	dir, err := root.OpenRoot(path.Dir(out.Path))
	if err != nil {
		return cid.Undef, err
	}
	dst, accept := o.into(ctx, s.conf.Store)
	e, err := dag.ImportTree(ctx, dst, dir, path.Base(out.Path), dag.TreeOptions{Hidden: true, ImportOptions: dag.ImportOptions{Accept: accept}})
	out.Size = e.Size
	return e.Cid, errors.Join(err, dir.Close())
}

func (s *Supervisor) storeFile(ctx context.Context, root *os.Root, out *Output, o outputOf) (cid.Cid, error) {
	// A FIFO that has taken the file's place would be waited for otherwise.
	f, err := root.OpenFile(out.Path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return cid.Undef, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("is no regular file")
	}
	var share *dag.Share
	if err == nil {
		share, err = s.memory().Take(ctx, dag.ImportMemory(info.Size()))
	}
	if err != nil {
		return cid.Undef, errors.Join(err, f.Close())
	}
	defer share.Release()
	dst, accept := o.into(ctx, s.conf.Store)
	file, err := dag.Import(ctx, dst, &untilDone{ctx.Err, f}, dag.ImportOptions{Size: info.Size(), Accept: accept})
	out.Size, out.Checksum = file.Size, "sha256:"+hex.EncodeToString(file.SHA256[:])
	return file.Root, errors.Join(err, f.Close())
}

// memory returns what imports take their memory from, nil if there is nothing such.
func (s *Supervisor) memory() *dag.Budget {
	if e, ok := s.conf.Engine.(interface{ Memory() *dag.Budget }); ok {
		return e.Memory()
	}
	return nil
}

// untilDone is a reader that ends with a context.
type untilDone struct {
	ended func() error
	io.Reader
}

// Read reads, unless the context has ended.
func (u *untilDone) Read(b []byte) (int, error) {
	if err := u.ended(); err != nil {
		return 0, err
	}
	return u.Reader.Read(b)
}

// matches returns the files and directories below root that patterns match, in
// the order of their names, and an error that names the patterns that match
// nothing. Symlinks, devices and the node's own directory match no pattern, and
// names that begin with a dot only one that begins so.
func matches(root *os.Root, patterns []string) ([]string, error) {
	m := &matcher{root: root, found: map[string]bool{}}
	var errs []error
	for _, pattern := range patterns {
		m.hit, m.unsafe = false, nil
		err := m.walk(".", strings.Split(pattern, "/"))
		if errors.Is(err, errTooMany) {
			return nil, fmt.Errorf("output %q: %w", pattern, err)
		}
		if err = errors.Join(err, m.unsafe); err != nil {
			errs = append(errs, fmt.Errorf("output %q: %w", pattern, err))
		} else if !m.hit {
			errs = append(errs, fmt.Errorf("output %q: nothing matches", pattern))
		}
	}
	names := make([]string, 0, len(m.found))
	for name := range m.found {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, errors.Join(errs...)
}

// matcher collects what patterns match.
type matcher struct {
	root  *os.Root
	found map[string]bool
	bytes int // of the names

	// Of the pattern at hand:
	hit    bool
	unsafe error // the first name that can't be one
}

// errTooMany says that patterns match more than a record holds.
var errTooMany = fmt.Errorf("more than %d outputs; name their directory", maxOutputs)

// anyDepth is the segment that stands for any number of directories.
const anyDepth = "**"

// walk matches the segments of a pattern below dir.
func (m *matcher) walk(dir string, segments []string) error {
	if strings.Count(dir, "/") > safename.MaxDepth {
		return fmt.Errorf("deeper than %d directories", safename.MaxDepth)
	}
	if segments[0] == anyDepth {
		if len(segments) == 1 {
			segments = []string{anyDepth, "*"} // the files of all directories
		}
		if err := m.walk(dir, segments[1:]); err != nil {
			return err
		}
	} else if !strings.ContainsAny(segments[0], `*?[\`) {
		return m.enter(path.Join(dir, segments[0]), segments, false)
	}
	return m.list(dir, segments)
}

// list matches the first segment with the entries of dir.
func (m *matcher) list(dir string, segments []string) error {
	entries, err := fs.ReadDir(m.root.FS(), dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil // it has gone meanwhile
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if name == bridge.Private || e.Name()[0] == '.' && segments[0][0] != '.' {
			continue
		}
		if segments[0] == anyDepth {
			if e.IsDir() {
				if err := m.walk(name, segments); err != nil {
					return err
				}
			}
			continue
		}
		if ok, err := path.Match(segments[0], e.Name()); err != nil || !ok {
			continue // patterns were checked
		}
		if err := m.enter(name, segments, true); err != nil {
			return err
		}
	}
	return nil
}

// enter goes on with the segments after the first, which name matches.
func (m *matcher) enter(name string, segments []string, listed bool) error {
	info, err := m.root.Lstat(name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			return nil
		}
		return err
	}
	if len(segments) > 1 {
		if info.IsDir() {
			return m.walk(name, segments[1:])
		}
		return nil
	}
	if !info.IsDir() && !info.Mode().IsRegular() {
		return nil
	}
	if listed { // the command chose the name
		if err := checkInside(name); err != nil {
			m.hit, m.unsafe = true, cmp.Or(m.unsafe, err)
			return nil
		}
	}
	m.hit = true
	if m.found[name] {
		return nil
	}
	m.found[name] = true
	if m.bytes += len(name); len(m.found) > maxOutputs || m.bytes > maxOutputNames {
		return errTooMany
	}
	return nil
}
