package ingest

import (
	"context"
	"crypto/sha1" //nolint:gosec // git's object hash
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"os"

	"github.com/hypha-node/hypha-node/connectors"
)

// Cache has contents that other programs of the operator's keep on this machine;
// hf.Cache is one.
type Cache interface {
	// Open opens what there is under the digest of an item; nil, and no error, if
	// there is nothing. Nothing that it holds is believed. The caller closes it.
	Open(it connectors.Item) (*os.File, error)
}

// cached takes an item out of the operator's cache, instead of asking its origin
// for bytes. ok is false if it is not there, is not what its name says, or if the
// source does not say that those who ask may have it: the cache is the operator's,
// and has what the operator's credential was good for.
func (e *Engine) cached(ctx context.Context, f *flight) (got Fetched, ok bool, err error) {
	it := f.item
	if e.cfg.Cache == nil || it.May == nil || !expect(it).digest() {
		return Fetched{}, false, nil
	}
	file, err := e.cfg.Cache.Open(it)
	if err != nil {
		e.cfg.Logger.WarnContext(ctx, "cache is not used", slog.Any("error", err))
	}
	if err != nil || file == nil {
		return Fetched{}, false, nil
	}
	defer file.Close() // was only read
	skip := func(why string, err error) (Fetched, bool, error) {
		if ctx.Err() != nil {
			return Fetched{}, false, context.Cause(ctx)
		}
		e.cfg.Logger.WarnContext(ctx, "cached file is not used", slog.String("why", why), slog.String("file", file.Name()), slog.String("url", it.URL), slog.Any("error", err))
		return Fetched{}, false, nil
	}
	if err := it.May(ctx); err != nil {
		return skip("the source does not let it be had", err)
	}
	// All of it first: nobody shall see the beginning of what is not the content.
	size, err := verify(ctx, it, file)
	if err != nil {
		return skip("it is wrong", err)
	}
	got, err = e.takeCached(ctx, f, file, size)
	switch {
	case err == nil:
		return got, true, nil
	case isStale(err) || errors.Is(err, connectors.ErrUpstream):
		// It changed under our eyes: who gets it while it comes starts over.
		f.tee.detach()
		return skip("it changed while it was read", err)
	}
	return Fetched{}, false, err
}

// takeCached reads a verified file of the cache into the store, behind what an
// earlier flight left of the content.
func (e *Engine) takeCached(ctx context.Context, f *flight, file *os.File, size int64) (got Fetched, err error) {
	b, err := e.beginning(ctx, f)
	if err != nil {
		return Fetched{}, err
	}
	defer func() { e.settle(ctx, b, err) }()
	var off int64
	if b != nil {
		off = b.Size()
	}
	if _, err := file.Seek(off, io.SeekStart); err != nil {
		return Fetched{}, fmt.Errorf("%w: %w", connectors.ErrUpstream, err)
	}
	body := &connectors.Body{ReadCloser: file, Size: size}
	want, err := expect(f.item).with(f.item, body)
	if err != nil {
		return Fetched{}, err
	}
	f.from = FromCache
	defer func() { f.from = FromOrigin }()
	return e.take(ctx, f, body, want, b)
}

// verify reads a whole file and returns its size; an error if it is not what the
// item announces. No more is read than that.
func verify(ctx context.Context, it connectors.Item, file *os.File) (int64, error) {
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	size := info.Size()
	if it.Size >= 0 && size != it.Size {
		return 0, mismatch(it, fmt.Sprintf("%d bytes", it.Size), fmt.Sprintf("%d bytes", size))
	}
	var h hash.Hash
	var want string
	if it.SHA256 != nil {
		h, want = sha256.New(), sha256Key(*it.SHA256)
	} else {
		h, want = sha1.New(), gitKey(*it.GitSHA1) //nolint:gosec // git's object hash
		fmt.Fprintf(h, "blob %d\x00", size)
	}
	const step = 8 << 20 // bytes between looks at ctx
	for off := int64(0); off < size; off += step {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		if _, err := io.CopyBuffer(h, io.NewSectionReader(file, off, min(step, size-off)), make([]byte, 256<<10)); err != nil {
			return 0, err
		}
	}
	got := fmt.Sprintf("%s%x", want[:len(want)-2*h.Size()], h.Sum(nil))
	if got != want {
		return 0, mismatch(it, want, got)
	}
	return size, nil
}
