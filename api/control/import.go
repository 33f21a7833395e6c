package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"

	boxoblockstore "github.com/ipfs/boxo/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/dag"
	"github.com/hypha-node/hypha-node/dag/car"
)

// What an import of a CAR holds at once before it is stored.
const (
	carBatchBytes  = 16 << 20
	carBatchBlocks = 1024
)

// dagImport imports CARs from disk, one after the other.
func (s *Server) dagImport(ctx context.Context, r ImportRequest, out *stream[Imported]) error {
	if len(r.Paths) == 0 {
		return invalid("no paths")
	}
	for _, name := range r.Paths {
		if !filepath.IsAbs(name) {
			return invalid("path %q is not absolute", name)
		}
		if err := s.dagImportFile(ctx, r, name, out); err != nil {
			return err
		}
	}
	return nil
}

// dagImportFile imports one CAR.
func (s *Server) dagImportFile(ctx context.Context, r ImportRequest, name string, out *stream[Imported]) error {
	f, err := os.Open(filepath.Clean(name))
	if err != nil {
		return err
	}
	defer f.Close() // it was only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		return invalid("%s is a directory", quote(name))
	}
	label := filepath.Base(name)
	got, err := s.importCAR(ctx, f, r, func(n int64) { out.progress(Progress{Path: label, Done: n, Total: info.Size()}) })
	if err != nil {
		return carError(label, err)
	}
	got.Path = label
	out.finished(label)
	return out.item(got)
}

// dagImportContent imports the request's body.
func (s *Server) dagImportContent(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	req := ImportRequest{NoPin: q.Get("no_pin") == "true", PinName: q.Get("pin_name")}
	got, err := s.importCAR(r.Context(), r.Body, req, func(int64) {})
	if err != nil {
		refuse(w, r, carError("-", err))
		return
	}
	got.Path = "-"
	writeJSON(w, http.StatusOK, got)
}

// carError names the CAR in an error.
func carError(name string, err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		named := *e
		named.Detail = name + ": " + e.Detail
		return &named
	}
	return fmt.Errorf("%s: %w", name, err)
}

// importCAR stores the blocks of a CAR, durably, and then pins its roots. When it
// fails nothing is pinned, and what was stored before goes with the next
// collection.
func (s *Server) importCAR(ctx context.Context, from io.Reader, r ImportRequest, progress func(n int64)) (Imported, error) {
	in, err := car.NewReader(from)
	if err != nil {
		return Imported{}, err
	}
	share, err := s.Engine.Memory().Take(ctx, carBatchBytes*2) // what is read, and what the store writes
	if err != nil {
		return Imported{}, err
	}
	defer share.Release()
	defer s.Store.Hold()() // until it is pinned
	got := Imported{Roots: []string{}}
	if err := s.storeCAR(ctx, in, &got, progress); err != nil {
		return Imported{}, err
	}
	if err := s.Store.Sync(ctx); err != nil {
		return Imported{}, err
	}
	if s.Network != nil {
		s.Network.Notify()
	}
	for _, root := range in.Roots {
		got.Roots = append(got.Roots, root.String())
	}
	if r.NoPin {
		return got, nil
	}
	got.Pinned = len(in.Roots) > 0
	return got, s.pinRoots(ctx, in.Roots, r.PinName)
}

// storeCAR stores blocks in batches; the store compares them with their CIDs.
func (s *Server) storeCAR(ctx context.Context, in *car.Reader, got *Imported, progress func(n int64)) error {
	var batch []blocks.Block
	bytes := 0
	flush := func() error {
		err := s.Store.PutMany(ctx, batch)
		if errors.Is(err, boxoblockstore.ErrHashMismatch) {
			err = &Error{Status: http.StatusUnprocessableEntity, Code: CodeMismatch, Detail: "before byte " + strconv.FormatInt(in.Offset(), 10) + ": " + err.Error(), err: err}
		}
		clear(batch)
		batch, bytes = batch[:0], 0
		progress(in.Offset())
		return err
	}
	for {
		c, data, err := in.Next()
		if errors.Is(err, io.EOF) && !errors.Is(err, car.ErrMalformed) {
			return flush()
		}
		if err != nil {
			return errors.Join(err, ctx.Err())
		}
		blk, err := blocks.NewBlockWithCid(data, c)
		if err != nil {
			return err
		}
		got.Blocks++
		got.Bytes += int64(len(data))
		batch = append(batch, blk)
		if bytes += len(data); bytes >= carBatchBytes || len(batch) >= carBatchBlocks {
			if err := flush(); err != nil {
				return err
			}
		}
	}
}

// pinRoots pins roots, if everything under all of them is stored.
func (s *Server) pinRoots(ctx context.Context, roots []cid.Cid, name string) error {
	if err := dag.Complete(ctx, s.Store, roots); ipld.IsNotFound(err) {
		return &Error{
			Status: http.StatusUnprocessableEntity, Code: CodeMalformed, Detail: "it does not hold all that is under its roots: " + err.Error(),
			Hint: "--no-pin stores what is there", err: err,
		}
	} else if err != nil {
		return err
	}
	for _, root := range roots {
		if err := s.Store.Pin(ctx, blockstore.Pin{Root: root, Name: name}); err != nil {
			return err
		}
		s.announce(ctx, root)
	}
	return nil
}
