package rpc

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/dag"
)

// addOptions are the options of add.
func addOptions() map[string]string {
	return map[string]string{
		"cid-version": "0 1", "raw-leaves": "true false", "chunker": "", "pin": "", "wrap-with-directory": "", "only-hash": "",
		"progress": "", "recursive": "", "hidden": "", "pin-name": "",
		// What is served only as it is by default.
		"hash": "sha2-256", "trickle": "false", "inline": "false", "nocopy": "false", "fscache": "false",
		"preserve-mode": "false", "preserve-mtime": "false", "dereference-args": "false",
	}
}

// added is one line of the answer.
type added struct {
	Name string
	Hash string
	Size string // bytes, blocks and all
}

// adding is one upload under way.
type adding struct {
	s        *Server
	c        *call
	profile  dag.Profile
	pin      bool
	pinName  string
	wrap     bool
	hashOnly bool
	progress bool
	root     *tree // what was added, by name
}

// tree is a directory that is being put together.
type tree struct {
	names    []string // of below, in the order in which they came
	children map[string]*tree
	cid      cid.Cid // of a file, or of a directory that is finished
	dir      bool
}

// add imports the files of an upload, then their directories, and pins the roots.
func add(ctx context.Context, s *Server, c *call) error {
	a := &adding{s: s, c: c, root: &tree{dir: true}}
	if err := a.options(); err != nil {
		return err
	}
	defer s.cfg.Store.Hold()() // until it is pinned
	// Lines are sent while the upload goes on.
	_ = http.NewResponseController(c.w).EnableFullDuplex() //nolint:errcheck // else they come at its end
	share, err := s.cfg.Memory.Take(ctx, dag.ImportMemory(-1))
	if err != nil {
		return err
	}
	defer share.Release()
	for p, err := range c.parts() {
		if err != nil {
			return err
		}
		if err := a.take(ctx, p); err != nil {
			return err
		}
	}
	return a.finish(ctx)
}

// options reads the query.
func (a *adding) options() error {
	var err error
	for name, o := range map[string]struct {
		into      *bool
		otherwise bool
	}{"pin": {&a.pin, true}, "wrap-with-directory": {&a.wrap, false}, "only-hash": {&a.hashOnly, false}, "progress": {&a.progress, false}} {
		if *o.into, err = a.c.flag(name, o.otherwise); err != nil {
			return err
		}
	}
	a.pinName = a.c.query.Get("pin-name")
	q := a.c.query
	if version := q.Get("cid-version"); version == "0" || version == "" && q.Get("raw-leaves") == "false" {
		a.profile = dag.V0_2015()
		if q.Get("raw-leaves") == "true" {
			return refused(http.StatusBadRequest, "raw-leaves=true goes with cid-version=1 here")
		}
	} else if q.Get("raw-leaves") == "false" {
		return refused(http.StatusBadRequest, "raw-leaves=false goes with cid-version=0 here")
	}
	if text := q.Get("chunker"); text != "" {
		if a.profile, err = a.profile.WithChunker(text); err != nil {
			return refused(http.StatusBadRequest, "%v", err)
		}
	}
	return nil
}

// take takes in one part.
func (a *adding) take(ctx context.Context, p part) error {
	if a.hashOnly && (p.dir || len(p.path) > 1 || a.wrap) {
		return refused(http.StatusBadRequest, "only-hash takes files, no directories")
	}
	if p.dir {
		_, err := a.root.place(p.path, true)
		return err
	}
	name := strings.Join(p.path, "/")
	o := dag.ImportOptions{Profile: a.profile, HashOnly: a.hashOnly}
	if a.progress {
		var done atomic.Int64
		o.Progress = func(n int64) {
			// A client that is gone is found out by the next line that counts.
			_ = a.c.send(map[string]any{"Name": name, "Bytes": done.Add(n)}) //nolint:errcheck // see above
		}
	}
	f, err := dag.Import(ctx, a.s.cfg.Store, p.content, o)
	if err != nil {
		return err
	}
	size := uint64(f.Size)
	if !a.hashOnly {
		if size, err = dag.CumulativeSize(ctx, a.s.cfg.Store, f.Root); err != nil {
			return err
		}
	}
	if len(p.path) == 0 {
		name = f.Root.String()
		p.path = []string{name}
	}
	at, err := a.root.place(p.path, false)
	if err != nil {
		return err
	}
	at.cid = f.Root
	return a.c.send(added{Name: name, Hash: f.Root.String(), Size: strconv.FormatUint(size, 10)})
}

// place returns the place of a path, making directories on the way.
func (t *tree) place(path []string, dir bool) (*tree, error) {
	for i, name := range path {
		last := i == len(path)-1
		next := t.children[name]
		if next == nil {
			next = &tree{dir: dir || !last}
			if t.children == nil {
				t.children = map[string]*tree{}
			}
			t.children[name] = next
			t.names = append(t.names, name)
		} else if !next.dir || (last && !dir) {
			return nil, refused(http.StatusBadRequest, "%q is there twice", strings.Join(path[:i+1], "/"))
		}
		t = next
	}
	return t, nil
}

// finish makes the directories, which come after what is in them, and pins.
func (a *adding) finish(ctx context.Context) error {
	var roots []cid.Cid
	if a.wrap && len(a.root.names) > 0 {
		if err := a.close(ctx, a.root, nil); err != nil {
			return err
		}
		roots = append(roots, a.root.cid)
	} else {
		for _, name := range a.root.names {
			t := a.root.children[name]
			if err := a.close(ctx, t, []string{name}); err != nil {
				return err
			}
			roots = append(roots, t.cid)
		}
	}
	if len(roots) == 0 {
		return refused(http.StatusBadRequest, "the upload holds no file")
	}
	if a.hashOnly {
		return nil
	}
	if err := a.s.cfg.Store.Sync(ctx); err != nil {
		return err
	}
	if !a.pin {
		return nil
	}
	for _, root := range slices.Compact(roots) {
		if _, err := a.s.cfg.Client.Pin(ctx, control.PinRequest{Path: root.String(), Name: a.pinName}); err != nil {
			return err
		}
	}
	return nil
}

// close makes the directory t and those below it, and tells of each. The depth is
// bounded by that of names.
func (a *adding) close(ctx context.Context, t *tree, path []string) error {
	if !t.dir {
		return nil
	}
	entries := make([]dag.Named, 0, len(t.names))
	for _, name := range t.names {
		child := t.children[name]
		if err := a.close(ctx, child, append(slices.Clone(path), name)); err != nil {
			return err
		}
		entries = append(entries, dag.Named{Name: name, Cid: child.cid})
	}
	var err error
	if t.cid, err = dag.MakeDir(ctx, a.s.cfg.Store, a.profile, entries); err != nil {
		return err
	}
	size, err := dag.CumulativeSize(ctx, a.s.cfg.Store, t.cid)
	if err != nil {
		return err
	}
	return a.c.send(added{Name: strings.Join(path, "/"), Hash: t.cid.String(), Size: strconv.FormatUint(size, 10)})
}
