package control

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/dag"
)

// get writes a file or tree to disk. What is not here is fetched first; a file
// is written while it comes.
func (s *Server) get(ctx context.Context, r GetRequest, out *stream[Written]) error {
	if !filepath.IsAbs(r.Output) {
		return invalid("output %q is not an absolute path", r.Output)
	}
	ctx, cancel := context.WithCancelCause(ctx) // ends the session, too
	defer cancel(nil)
	defer s.Store.Hold()() // until it is written: nothing pins it
	src := s.source(ctx, r.TimeoutMS)
	c, err := resolve(ctx, src, r.Path)
	if err != nil {
		return err
	}
	info, err := dag.Stat(ctx, src, c)
	if err != nil {
		return err
	}
	dir, base, err := parent(r.Output, perm(r.DirMode, 0o700))
	if err != nil {
		return err
	}
	defer dir.Close() // nothing is written through the handle itself

	g := &getting{server: s, req: r, out: out, dir: dir, base: base, total: info.Size}
	root, done, err := g.fetch(ctx, cancel, c, info.Type)
	if err == nil && !done {
		root, err = g.export(ctx, c)
	}
	if err != nil {
		return err
	}
	root.Root = true
	return out.item(root)
}

// getting is one get under way.
type getting struct {
	server *Server
	req    GetRequest
	out    *stream[Written]
	dir    *os.Root // that the output goes into
	base   string   // name of the output
	total  int64    // bytes
}

// meter returns a progress callback for bytes from a source.
func (g *getting) meter(from string) func(int64) {
	var done atomic.Int64
	return func(n int64) {
		g.out.progress(Progress{Path: g.base, Done: done.Add(n), Total: g.total, From: from})
	}
}

// fetch makes sure that everything is stored. It tells whether the output has
// been written on the way: a file that came from peers.
func (g *getting) fetch(ctx context.Context, cancel context.CancelCauseFunc, c cid.Cid, typ dag.Type) (Written, bool, error) {
	_, err := g.server.Store.File(ctx, c)
	if err == nil || !format.IsNotFound(err) {
		return Written{}, false, err
	}
	size := int64(-1) // of the largest file
	if typ == dag.TypeFile {
		size = g.total
	}
	share, err := g.server.Engine.Memory().Take(ctx, dag.ImportMemory(size))
	if err != nil {
		return Written{}, false, err
	}
	defer share.Release()
	o := dag.CopyOptions{Progress: g.meter("peer"), Keep: true}
	var t *tee
	if typ == dag.TypeFile {
		if t, err = newTee(g.dir, g.base, perm(g.req.Mode, 0o600), g.total); err != nil {
			return Written{}, false, err
		}
	}
	if t != nil {
		defer t.drop()
		t.failed = cancel
		o.Tee = t
	}
	e, err := g.server.blocks(g.req.TimeoutMS).Fetch(ctx, c, o)
	if err != nil || t == nil || e.Type != dag.TypeFile {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return Written{}, false, err
	}
	w := Written{Path: filepath.Join(g.dir.Name(), g.base), CID: cidText(e.Cid), Size: e.Size, SHA256: digest(e.SHA256)}
	return w, true, t.commit()
}

// export writes what is stored under c, streaming what was written below it.
func (g *getting) export(ctx context.Context, c cid.Cid) (Written, error) {
	share, err := g.server.Engine.Memory().Take(ctx, dag.ExportMemory(g.total))
	if err != nil {
		return Written{}, err
	}
	defer share.Release()
	var files int64
	var gone error
	w, err := dag.Export(ctx, g.server.Store, c, g.dir, g.base, dag.ExportOptions{
		FileMode: perm(g.req.Mode, 0o600), DirMode: perm(g.req.DirMode, 0o700),
		Force: g.req.Force, Symlinks: !g.req.NoSymlinks, Progress: g.meter("store"),
		OnEntry: func(w dag.Written) {
			files++
			if gone == nil && w.Path != g.base && !g.req.RootOnly {
				gone = g.out.item(wireWritten(g.dir, w))
			}
		},
	})
	written := wireWritten(g.dir, w)
	written.Files = files
	return written, errors.Join(err, gone)
}

// parent opens the directory that a new entry goes into, making what is missing.
func parent(path string, mode fs.FileMode) (*os.Root, string, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, mode); err != nil {
		return nil, "", err
	}
	root, err := os.OpenRoot(dir)
	return root, filepath.Base(path), err
}

// perm returns the permission that a request names.
func perm(mode uint32, otherwise fs.FileMode) fs.FileMode {
	if p := fs.FileMode(mode).Perm(); p != 0 {
		return p
	}
	return otherwise
}

// wireWritten returns the wire form of what was written below dir.
func wireWritten(dir *os.Root, w dag.Written) Written {
	out := Written{Path: filepath.Join(dir.Name(), filepath.FromSlash(w.Path)), CID: cidText(w.Cid), Size: w.Size, Reflinked: w.Reflinked}
	if w.SHA256 != [32]byte{} {
		out.SHA256 = digest(&w.SHA256)
	}
	return out
}
