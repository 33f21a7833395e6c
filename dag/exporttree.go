package dag

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/internal/atomicfile"
	"github.com/ipfs/go-cid"
	"golang.org/x/sync/errgroup"
)

// treeExporter writes a tree: one goroutine walks it and makes directories,
// workers write files, and symlinks come last, so that nothing is ever written
// through one of them.
type treeExporter struct {
	*ExportOptions
	src   blockstore.Store
	top   string
	guard *guard
	jobs  chan exportJob
	large sync.Mutex // one file of several leaves at a time: each uses all cores
	told  sync.Mutex // of OnEntry
	links []Entry
	made  []string // directories, parents before children
	size  atomic.Int64
}

// exportDir is a directory that is being written; its last user closes it.
type exportDir struct {
	*atomicfile.Dir
	users atomic.Int64
}

type exportJob struct {
	in    *exportDir
	path  string // below the root of the tree
	cid   cid.Cid
	large bool
}

func exportTree(ctx context.Context, src blockstore.Store, n *node, root *os.Root, w Written, o ExportOptions) (Written, error) {
	if err := surveyTree(ctx, src, w.Cid, n, &o); err != nil {
		return Written{}, fmt.Errorf("export %q: %w", w.Path, err)
	}
	x := &treeExporter{ExportOptions: &o, src: src, top: w.Path, guard: newGuard(o.Limits), jobs: make(chan exportJob, 64)}
	err := x.run(ctx, root, n, w.Cid)
	if err != nil {
		return Written{}, fmt.Errorf("export %q: %w", w.Path, errors.Join(err, removeDirs(root, x.made)))
	}
	w.Size = x.size.Load()
	return w, nil
}

// run writes the tree.
func (x *treeExporter) run(ctx context.Context, root *os.Root, n *node, c cid.Cid) error {
	g, ctx := errgroup.WithContext(ctx)
	for range 2 * runtime.GOMAXPROCS(0) { // making a file is waiting, too
		g.Go(func() error { return x.work(ctx) })
	}
	g.Go(func() error {
		defer close(x.jobs)
		return x.dir(ctx, root, n, c, "")
	})
	err := g.Wait()
	for j := range x.jobs { // what nobody took because of an error
		err = errors.Join(err, j.in.done())
	}
	if err != nil {
		return err
	}
	for _, l := range x.links {
		if err := x.symlink(root, l); err != nil {
			return err
		}
	}
	return nil
}

// dir writes the directory n as p.
func (x *treeExporter) dir(ctx context.Context, root *os.Root, n *node, c cid.Cid, p string) (err error) {
	name := path.Join(x.top, p)
	if err := x.mkdirAll(root, name, &x.made); err != nil {
		return err
	}
	d := &exportDir{}
	if d.Dir, err = atomicfile.OpenDir(root, name); err != nil {
		return err
	}
	d.users.Store(1)
	defer func() { err = errors.Join(err, d.done()) }()
	for l, err := range n.entries(ctx, x.src, c, x.guard) {
		if err != nil {
			return fmt.Errorf("%q: %w", p, err)
		}
		sub, err := join(p, l.name)
		if err != nil {
			return err
		}
		if err := x.entry(ctx, root, d, l, sub); err != nil {
			return fmt.Errorf("%q: %w", sub, err)
		}
	}
	x.tell(Written{Path: name, Cid: c, Type: TypeDir})
	return ctx.Err()
}

// entry writes one entry of d, or leaves it to the workers.
func (x *treeExporter) entry(ctx context.Context, root *os.Root, d *exportDir, l link, p string) error {
	if err := checkCID(l.cid); err != nil {
		return err
	}
	if l.cid.Type() == cid.Raw {
		return x.send(ctx, exportJob{in: d, path: p, cid: l.cid})
	}
	n, err := getNode(ctx, x.src, l.cid)
	if err != nil {
		return err
	}
	switch n.typ() {
	case TypeDir:
		return x.dir(ctx, root, n, l.cid, p)
	case TypeSymlink:
		e := Entry{Path: p, Cid: l.cid, Target: string(n.data)}
		if !x.Symlinks || !staysInside(p, e.Target) {
			return fmt.Errorf("points to %.100q: %w", e.Target, ErrSymlink)
		}
		x.links = append(x.links, e)
		return nil
	}
	return x.send(ctx, exportJob{in: d, path: p, cid: l.cid, large: len(n.links) > 0})
}

func (x *treeExporter) send(ctx context.Context, j exportJob) error {
	j.in.users.Add(1)
	select {
	case x.jobs <- j:
		return nil
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), j.in.done())
	}
}

// done gives up one use of the directory.
func (d *exportDir) done() error {
	if d.users.Add(-1) == 0 {
		return d.Close()
	}
	return nil
}

// work writes files until there are no more.
func (x *treeExporter) work(ctx context.Context) error {
	for j := range x.jobs {
		err := context.Cause(ctx)
		if err == nil {
			if err = x.write(ctx, j); err != nil {
				err = fmt.Errorf("%q: %w", j.path, err)
			}
		}
		if err := errors.Join(err, j.in.done()); err != nil {
			return err
		}
	}
	return nil
}

func (x *treeExporter) write(ctx context.Context, j exportJob) error {
	if j.large {
		x.large.Lock()
		defer x.large.Unlock()
	}
	w := Written{Path: path.Join(x.top, j.path), Cid: j.cid, Type: TypeFile}
	if err := x.file(ctx, x.src, j.in.Dir, path.Base(j.path), &w); err != nil {
		return err
	}
	if x.size.Add(w.Size) > x.guard.limits.Bytes {
		return fmt.Errorf("more than %d bytes in all: %w", x.guard.limits.Bytes, ErrTooLarge)
	}
	x.tell(w)
	return nil
}

func (x *treeExporter) tell(w Written) {
	if x.OnEntry != nil {
		x.told.Lock()
		defer x.told.Unlock()
		x.OnEntry(w)
	}
}

// symlink writes one symlink.
func (x *treeExporter) symlink(root *os.Root, l Entry) error {
	name := path.Join(x.top, l.Path)
	err := root.Symlink(l.Target, name)
	if errors.Is(err, fs.ErrExist) {
		old, rerr := root.Readlink(name)
		switch {
		case rerr == nil && old == l.Target:
			err = nil
		case !x.Force:
			return fmt.Errorf("%q: %w", name, ErrExists)
		default:
			if err = root.Remove(name); err == nil {
				err = root.Symlink(l.Target, name)
			}
		}
	}
	if err == nil {
		x.tell(Written{Path: name, Cid: l.Cid, Type: TypeSymlink})
	}
	return err
}

// staysInside tells whether a symlink at path p of a tree can only lead to what
// is in the tree.
func staysInside(p, target string) bool {
	up, ok := climb(target)
	return ok && up <= strings.Count(p, "/")
}

// climb returns how many directories a symlink goes up from its own; ok is false
// for a target that may lead anywhere. ".." is allowed at the front alone: behind
// a name that is itself a symlink it would go up from somewhere else.
func climb(target string) (up int, ok bool) {
	if target == "" || len(target) > 4095 || strings.ContainsAny(target, "\x00\\") || path.IsAbs(target) {
		return 0, false
	}
	names := strings.Split(target, "/")
	for len(names) > 0 && names[0] == ".." {
		up++
		names = names[1:]
	}
	for _, s := range names {
		if s == ".." || s == "" || strings.Contains(s, ":") {
			return 0, false
		}
	}
	return up, true
}
