package ingest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/dag"
)

// run is one flight: see the package comment.
func (e *Engine) run(ctx context.Context, f *flight) (Fetched, error) {
	for _, find := range []func(context.Context, connectors.Item) (Fetched, bool, error){e.lookup, e.vouched} {
		if got, ok, err := find(ctx, f.item); ok || err != nil {
			return got, err
		}
	}
	got, err := e.bring(ctx, f)
	if p, ok := errors.AsType[*pointerError](err); ok {
		got, err = e.bringLarge(ctx, f, p)
	}
	if err := f.tee.failure(); err != nil {
		e.cfg.Logger.WarnContext(ctx, "tee failed; the content is in the store only",
			slog.String("url", f.item.URL), slog.Any("error", err))
	}
	if err == nil && got.From != FromStore && e.cfg.OnStored != nil {
		e.cfg.OnStored(ctx, got.File, got.Private)
	}
	return got, err
}

// bring gets what the store does not have. It waits for memory first, so that no
// connection waits for it.
func (e *Engine) bring(ctx context.Context, f *flight) (got Fetched, err error) {
	share, err := e.cfg.Memory.Take(ctx, memoryOf(f.item))
	if err != nil {
		return Fetched{}, err
	}
	defer share.Release()
	if f.item.Root.Defined() {
		return e.copyBlocks(ctx, f)
	}
	if got, ok, err := e.cached(ctx, f); ok || err != nil {
		return got, err
	}
	e.joinCrew(ctx, f, expect(f.item))
	defer func() { f.leaveCrew(err == nil && !got.Private) }()
	if got, ok, err := e.beforeOrigin(ctx, f); ok || err != nil {
		return got, err
	}
	got, err = e.download(ctx, f, share)
	if errors.Is(err, connectors.ErrMismatch) && f.item.Direct != nil && got.Transport != "" && got.Transport != "http" && ctx.Err() == nil {
		f.goAlone()
		got, err = e.downloadDirect(ctx, f, share, got)
	}
	if late, ok := e.afterOrigin(ctx, f, err); ok {
		late.OriginBytes = got.OriginBytes
		return late, nil
	}
	return got, err
}

// memoryOf returns the bytes that an item takes at most while it is brought.
func memoryOf(it connectors.Item) int64 {
	if it.Size < 0 && it.Root.Defined() && it.Root.Type() == cid.Raw {
		return dag.ImportMemory(maxBlock)
	}
	return dag.ImportMemory(it.Size)
}

// maxBlock is the most that a block may hold, in bytes (docs/terms.md, block).
const maxBlock = 2 << 20

// copyBlocks brings a root from peers.
func (e *Engine) copyBlocks(ctx context.Context, f *flight) (Fetched, error) {
	it := f.item
	if e.cfg.Blocks == nil {
		return Fetched{}, &connectors.Error{
			Op: "open", Source: it.Root.String(),
			Err: fmt.Errorf("%w: not in the store, and there is no network to ask", connectors.ErrNotFound),
		}
	}
	f.begin(FromPeer, 0, it.Size)
	want := expect(it)
	o := dag.CopyOptions{
		Timeout:  f.opts.Timeout,
		Progress: f.advance,
		Keep:     true,
		Late:     true, // fly follows
		Pace:     f.opts.Pace,
		Accept:   func(file dag.File) (map[string][]byte, error) { return nil, want.check(it, file, nil) },
	}
	if f.tee != nil {
		o.Tee = f.tee
	}
	// What is private to others is as good as not here.
	dst := e.cfg.Store.Scope("")
	if it.Scope != "" {
		dst = e.cfg.Store.Scope(blockstore.Operator)
	}
	entry, err := e.cfg.Blocks.FetchInto(ctx, partOf(dst, f.part), it.Root, o)
	if err != nil {
		return Fetched{}, err
	}
	if entry.Type != dag.TypeFile {
		return Fetched{}, &connectors.Error{Op: "open", Source: it.Root.String(), Err: fmt.Errorf("%w: %w: it is a %s", connectors.ErrInvalid, dag.ErrNotFile, entry.Type)}
	}
	file, err := e.cfg.Store.File(ctx, it.Root)
	if err != nil {
		return Fetched{}, err
	}
	got := Fetched{File: file, From: FromPeer, PeerBytes: f.now().Done, SavedBytes: entry.Saved, ETag: it.ETag, Verified: true}
	if got.PeerBytes == 0 && file.Size > 0 {
		got.From = FromStore // its blocks were here already
	}
	return got, e.admitted(ctx, it, &got)
}

// download brings an item from its origin, from where an earlier flight was cut;
// share is the memory for it. When what that one left does not fit, or when all
// together is not what was announced, it begins anew, once.
func (e *Engine) download(ctx context.Context, f *flight, share *dag.Share) (Fetched, error) {
	b, err := e.beginning(ctx, f)
	if err != nil {
		return Fetched{}, err
	}
	got, err := e.attempt(ctx, f, share, b)
	if b == nil || !isStale(err) || ctx.Err() != nil {
		return got, err
	}
	e.cfg.Logger.InfoContext(ctx, "content is fetched from its first byte again", slog.String("url", f.item.URL), slog.Any("error", err))
	if b.used {
		f.tee.detach() // it may have got more than there will be
	}
	wasted := got.OriginBytes
	f.goAlone()
	got, err = e.attempt(ctx, f, share, nil)
	got.OriginBytes += wasted
	return got, err
}

// downloadDirect brings an item whose bytes were wrong, once more and by its source's
// own way: no other transport can tell before the end of a file that its bytes are
// not the file's. before is what came of it.
func (e *Engine) downloadDirect(ctx context.Context, f *flight, share *dag.Share, before Fetched) (Fetched, error) {
	e.cfg.Logger.WarnContext(ctx, "wrong content is fetched again over HTTP alone", slog.String("url", f.item.URL), slog.String("transport", before.Transport))
	f.tee.detach() // it has the wrong content
	open := f.item.Open
	f.item.Open = f.item.Direct
	defer func() { f.item.Open = open }()
	got, err := e.attempt(ctx, f, share, nil)
	got.OriginBytes += before.OriginBytes
	return got, err
}

// attempt is download with one beginning, or with none if that is nil.
func (e *Engine) attempt(ctx context.Context, f *flight, share *dag.Share, b *beginning) (got Fetched, err error) {
	defer func() { e.settle(ctx, b, err) }()
	if b == nil {
		if err := e.measure(ctx, f); err != nil {
			return Fetched{}, err
		}
	}
	var hit Fetched
	body := e.shared(ctx, f)
	if body == nil {
		body, hit, err = e.open(ctx, f.item, b)
	}
	if err != nil || body == nil {
		return hit, err
	}
	defer func() { _ = body.Close() }() // it was only read
	want, err := expect(f.item).with(f.item, body)
	if err != nil {
		return Fetched{}, err
	}
	if b == nil {
		share.Keep(dag.ImportMemory(want.size)) // the size may be known only now
	}
	if hit, ok, err := e.known(ctx, f.item, body); ok || err != nil {
		return hit, err
	}
	e.joinCrew(ctx, f, want)
	e.share(ctx, f, body, b)
	return e.take(ctx, f, body, want, b)
}

// open opens an item behind what is here, or else conditionally if its key stands
// for a file that is here. It returns a body, or the file that the origin says has
// not changed.
func (e *Engine) open(ctx context.Context, it connectors.Item, b *beginning) (*connectors.Body, Fetched, error) {
	if b != nil {
		body, err := b.open(ctx, it)
		return body, Fetched{}, err
	}
	return e.openChanged(ctx, it, -1)
}

// openChanged opens the first n bytes of an item, all of it when n < 0, unless its
// key stands for a file that is here and the origin says that it has not changed.
func (e *Engine) openChanged(ctx context.Context, it connectors.Item, n int64) (*connectors.Body, Fetched, error) {
	var cond []byte
	var hit Fetched
	if it.Key != "" && !it.Pinned {
		got, m, ok, err := e.lookupMeta(ctx, it, it.Key)
		if err != nil {
			return nil, Fetched{}, err
		}
		if ok {
			hit, cond = got, m
		}
	}
	body, err := it.Open(ctx, 0, n, cond)
	if errors.Is(err, connectors.ErrNotModified) && len(cond) > 0 {
		// It may have been collected meanwhile.
		_, gone := e.cfg.Store.File(ctx, hit.File.Root)
		if gone == nil || ignoreNotFound(gone) != nil {
			return nil, hit, gone
		}
		body, err = it.Open(ctx, 0, n, nil)
	}
	if errors.Is(err, connectors.ErrNotModified) {
		err = &connectors.Error{Op: "open", Source: it.URL, Err: fmt.Errorf("%w: %w, though that was not asked", connectors.ErrUpstream, err)}
	}
	return body, Fetched{}, err
}

// known finds a file that is here under another name, by the digest or the identity
// that the origin sent ahead of the content, and gives it this name as well.
func (e *Engine) known(ctx context.Context, it connectors.Item, body *connectors.Body) (got Fetched, ok bool, err error) {
	if it.SHA256 == nil && body.SHA256 != nil {
		got, ok, err = e.lookupSHA256(ctx, it, *body.SHA256)
	}
	if !ok && err == nil && body.Key != "" {
		got, ok, err = e.lookupAlias(ctx, it, body.Key)
	}
	if !ok || err != nil {
		return Fetched{}, false, err
	}
	if body.Revision != "" {
		got.Revision = body.Revision
	}
	if body.ETag != "" {
		got.ETag = body.ETag
	}
	if it.Key == "" || len(body.Meta) == 0 {
		return got, true, nil
	}
	m, err := e.metaOf(it, body, got.Verified || body.SHA256 != nil)
	if err != nil {
		return Fetched{}, false, err
	}
	return got, true, e.cfg.Store.PutAlias(ctx, it.Key, blockstore.Alias{Root: got.File.Root, Meta: m})
}

// take reads a body into the store, behind what is there.
func (e *Engine) take(ctx context.Context, f *flight, body *connectors.Body, want expected, b *beginning) (Fetched, error) {
	it := f.item
	r := io.Reader(body)
	if b == nil {
		var err error
		if r, err = notPointer(body, body.Size, it); err != nil {
			return Fetched{}, err
		}
	}
	in := &intake{r: r, size: want.size, source: it.URL}
	kept, err := keep(it, body)
	if err != nil {
		return Fetched{}, err
	}
	got := Fetched{From: f.from, ETag: it.ETag, Revision: body.Revision}
	if got.ETag == "" {
		got.ETag = body.ETag
	}
	o := dag.ImportOptions{Size: max(want.size, 0), Progress: f.advanceBy(body), Keep: kept}
	if b != nil {
		in.off, o.Resume, b.used = b.Size(), b.Partial, true
		f.part.open(b.Partial)
		f.part.add(0, in.off)
	}
	f.begin(f.from, in.off, want.size)
	if f.tee != nil {
		o.Tee = f.tee
	}
	git, also := want.gitHash()
	o.Also = also
	var mended *dag.File
	o.Accept = func(file dag.File) (map[string][]byte, error) {
		if err := in.whole(); err != nil {
			return nil, err
		}
		if body.Late != nil && want.sha256 == nil {
			want.sha256 = body.Late()
		}
		f.joint.finish(body)
		if err := want.check(it, file, git); err != nil {
			mended = e.mend(ctx, f, body, want)
			return nil, overTransports(err, body)
		}
		return e.aliases(it, body, want)
	}
	got.File, err = dag.Import(ctx, partOf(e.storeFor(it), f.part), in, o)
	switch {
	case mended != nil:
		got.File, err = *mended, nil
	case errors.Is(err, errBody):
		err = in.err
	}
	if isStale(err) {
		e.forget(ctx, it)
	}
	if f.from == FromOrigin {
		got.OriginBytes, got.Transport = in.n, body.Transport()
		f.joint.account(&got)
	}
	got.Verified = want.digest()
	if err == nil {
		err = e.admitted(ctx, it, &got)
	}
	return got, err
}

// overTransports says in an error by what the bytes have come, if not over HTTP alone.
func overTransports(err error, body *connectors.Body) error {
	ce, ok := errors.AsType[*connectors.Error](err)
	if by := body.Transport(); ok && by != "" && by != "http" {
		told := *ce
		told.Err = fmt.Errorf("%w; its bytes came over %s", ce.Err, by)
		return &told
	}
	return err
}

// aliases adds the names under which the content will be found again.
func (e *Engine) aliases(it connectors.Item, body *connectors.Body, want expected) (map[string][]byte, error) {
	aliases := make(map[string][]byte)
	if want.git != nil {
		aliases[gitKey(*want.git)] = nil
	}
	// A key is worth keeping if it never changes its meaning, or if the origin
	// can be asked whether it did, and if the content is surely whole.
	if it.Key == "" || !it.Pinned && len(body.Meta) == 0 || body.Unframed && !want.digest() && want.size < 0 {
		return aliases, nil
	}
	m, err := e.metaOf(it, body, want.digest())
	if err != nil {
		return nil, err
	}
	aliases[it.Key] = m
	if body.Key != "" {
		aliases[body.Key] = m
	}
	if it.SharedKey != "" && body.Shared {
		aliases[it.SharedKey] = m
	}
	return aliases, nil
}
