package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/dag"
	"github.com/hypha-node/hypha-node/dag/car"
	"github.com/hypha-node/hypha-node/internal/atomicfile"
)

// dagExport writes a CAR to disk.
func (s *Server) dagExport(ctx context.Context, r ExportRequest, out *stream[Exported]) error {
	if !filepath.IsAbs(r.Output) {
		return invalid("output %q is not an absolute path", r.Output)
	}
	dir, base, err := parent(r.Output, perm(r.DirMode, 0o700))
	if err != nil {
		return err
	}
	defer dir.Close() // nothing is written through the handle itself
	defer s.Store.Hold()()
	x, err := s.newExport(ctx, r)
	if err != nil {
		return err
	}
	file, err := atomicfile.Create(dir, base, atomicfile.Options{Mode: perm(r.Mode, 0o600), Replace: r.Force})
	if err != nil {
		if errors.Is(err, os.ErrExist) {
			err = fmt.Errorf("%s: %w", base, dag.ErrExists)
		}
		return err
	}
	w := &fileWriter{file: file, told: func(n int64) { out.progress(Progress{Path: r.Path, Done: n, Total: x.size}) }}
	err = x.write(ctx, w)
	if err == nil {
		err = file.Commit()
		if errors.Is(err, os.ErrExist) {
			err = fmt.Errorf("%s: %w", base, dag.ErrExists)
		}
	}
	if err != nil {
		return errors.Join(err, file.Abort())
	}
	return out.item(Exported{Path: r.Path, CID: x.root.String(), Output: r.Output, Blocks: x.blocks, Size: x.size})
}

// fileWriter writes a file in order.
type fileWriter struct {
	file io.WriterAt
	off  int64
	told func(off int64)
}

// Write writes behind what was written.
func (w *fileWriter) Write(b []byte) (int, error) {
	n, err := w.file.WriteAt(b, w.off)
	w.off += int64(n)
	w.told(w.off)
	return n, err
}

// dagExportContent answers with a CAR, whose length is told beforehand. If the
// rest can't be had, the body is too short; see cat.
func (s *Server) dagExportContent(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	req := ExportRequest{Path: q.Get("path")}
	var err error
	for name, into := range map[string]*int64{"version": &req.Version, "timeout_ms": &req.TimeoutMS} {
		if text := q.Get(name); text != "" && err == nil {
			if *into, err = strconv.ParseInt(text, 10, 64); err != nil {
				err = invalid("%s: %q is no number", name, text)
			}
		}
	}
	if err != nil {
		writeError(w, err)
		return
	}
	defer s.Store.Hold()() // until it is sent: nothing pins it
	x, err := s.newExport(r.Context(), req)
	if err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set("Content-Type", fmt.Sprintf("application/vnd.ipld.car; version=%d; order=dfs; dups=n", max(req.Version, 1)))
	sendContent(w, r, x.size, func(w io.Writer) error { return x.write(r.Context(), w) })
}

// export is one export under way.
type export struct {
	root   cid.Cid
	src    dag.Getter
	v2     bool
	inner  int64 // bytes of what version 2 wraps
	size   int64 // bytes
	blocks int64
}

// newExport looks at everything under a root: what is not here is fetched, and
// afterwards the size is known.
func (s *Server) newExport(ctx context.Context, r ExportRequest) (*export, error) {
	if r.Version < 0 || r.Version > 2 {
		return nil, invalid("version: %d is neither 1 nor 2", r.Version)
	}
	x := &export{v2: r.Version == 2}
	src := s.source(ctx, r.TimeoutMS)
	var err error
	if x.root, err = resolve(ctx, src, r.Path); err != nil {
		return nil, err
	}
	// Many blocks of a DAG come sooner together than one after the other.
	if has, err := s.Store.Has(ctx, x.root); err != nil {
		return nil, err
	} else if !has && s.Network != nil {
		if _, err := s.blocks(r.TimeoutMS).Fetch(ctx, x.root, dag.CopyOptions{}); err != nil && !errors.Is(err, dag.ErrMalformed) {
			return nil, err
		}
	}
	x.src = &sized{Getter: src, store: s.Store}
	roots := []cid.Cid{x.root}
	x.inner = car.HeaderSize(roots)
	for b, err := range dag.Blocks(ctx, x.src, roots, dag.BlocksOptions{Sizes: true}) {
		if err != nil {
			return nil, err
		}
		x.inner += car.SectionSize(b.Cid, b.Size)
		x.blocks++
	}
	if x.size = x.inner; x.v2 {
		x.size += car.WrapSize()
	}
	return x, nil
}

// write writes the CAR.
func (x *export) write(ctx context.Context, to io.Writer) error {
	roots := []cid.Cid{x.root}
	out, err := x.begin(to, roots)
	if err != nil {
		return err
	}
	for b, err := range dag.Blocks(ctx, x.src, roots, dag.BlocksOptions{}) {
		if err != nil {
			return err
		}
		if err := out.Write(b.Cid, b.Data); err != nil {
			return err
		}
	}
	return nil
}

// begin writes the header.
func (x *export) begin(to io.Writer, roots []cid.Cid) (*car.Writer, error) {
	if x.v2 {
		return car.NewWriterV2(to, roots, x.inner)
	}
	return car.NewWriter(to, roots)
}

// sized is a source that knows sizes from the store; what is not there it gets.
type sized struct {
	dag.Getter
	store *blockstore.Disk
}

// GetSize returns the size of a block: bytes.
func (s *sized) GetSize(ctx context.Context, c cid.Cid) (int, error) {
	n, err := s.store.GetSize(ctx, c)
	if !ipld.IsNotFound(err) {
		return n, err
	}
	blk, err := s.Get(ctx, c)
	if err != nil {
		return 0, err
	}
	return len(blk.RawData()), nil
}

// query returns those fields that streamed content has, as a query.
func (r ExportRequest) query() url.Values {
	q := url.Values{"path": {r.Path}}
	if r.Version != 0 {
		q.Set("version", strconv.FormatInt(r.Version, 10))
	}
	if r.TimeoutMS != 0 {
		q.Set("timeout_ms", strconv.FormatInt(r.TimeoutMS, 10))
	}
	return q
}
