package ingest

import (
	"context"
	"crypto/sha256"
	"errors"
	"iter"
	"log/slog"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/dag"
)

// Holder is somebody who says that he has a file. It is a claim: the content is
// compared with the digest when it is here.
type Holder struct {
	Peer string // its id
	Root cid.Cid
	Size int64 // bytes
}

// Finder knows who has a file of which no more than the sha256 is known.
type Finder interface {
	// Holders yields who says so, as they answer. It ends when nobody is left
	// who could, or with ctx, after all that is known by then.
	Holders(ctx context.Context, sum [sha256.Size]byte) iter.Seq[Holder]
	// Blame is told of a peer that was no help: it named a root of other
	// content, if lied, or what it named did not come.
	Blame(peer string, lied bool)
}

// Limits of getting a file from peers whose origin could be asked as well.
const (
	// DefaultPatience is how much later an origin is asked because peers are
	// asked first who has the content: some round trips between continents.
	DefaultPatience = time.Second
	// How long peers are searched for when the origin has failed.
	latePatience = 10 * time.Second
	// How long peers may send nothing before others are looked for, and before
	// the origin is asked.
	holderStall   = 5 * time.Second
	holderTimeout = 15 * time.Second
)

// asksPeers tells whether peers are asked for an item whose root is not known. Of
// what is fetched with a credential nobody is told, not even by asking.
func (e *Engine) asksPeers(it connectors.Item) bool {
	return e.cfg.Finder != nil && e.cfg.Blocks != nil && it.SHA256 != nil && it.Scope == ""
}

// beforeOrigin brings a file from who says that he has it; ok is false if the
// origin has to be asked. An error is none of a peer's.
func (e *Engine) beforeOrigin(ctx context.Context, f *flight) (got Fetched, ok bool, err error) {
	if !e.asksPeers(f.item) {
		return Fetched{}, false, nil
	}
	if begun, err := e.begun(ctx, f); begun || err != nil {
		return Fetched{}, false, err // the origin has only the rest to send
	}
	// What a holder has sent of it is left to the next one, and to the origin.
	if f.item.GitSHA1 == nil {
		if f.kept, err = keep(f.item, &connectors.Body{}); err != nil {
			return Fetched{}, false, err
		}
	}
	defer func() { f.kept = dag.Keep{} }()
	return e.fromPeers(ctx, f, e.cfg.Patience)
}

// afterOrigin asks peers when the origin has failed with err: now there is time.
func (e *Engine) afterOrigin(ctx context.Context, f *flight, err error) (got Fetched, ok bool) {
	if _, origins := errors.AsType[*connectors.Error](err); !origins || isStale(err) || ctx.Err() != nil || !e.asksPeers(f.item) {
		return Fetched{}, false
	}
	f.tee.detach() // it may have got some of it
	got, ok, perr := e.fromPeers(ctx, f, latePatience)
	if perr != nil && ctx.Err() == nil {
		e.cfg.Logger.WarnContext(ctx, "ask peers", slog.String("url", f.item.URL), slog.Any("error", perr))
	}
	if ok {
		e.cfg.Logger.WarnContext(ctx, "the origin failed, peers had it", slog.String("url", f.item.URL), slog.Any("error", err))
		e.forget(ctx, f.item) // the beginning that is of no use any more
	}
	return got, ok && perr == nil
}

// fromPeers asks who has a file, for so long at most, and copies it from the first
// whose file comes and is the right one.
func (e *Engine) fromPeers(ctx context.Context, f *flight, patience time.Duration) (got Fetched, ok bool, err error) {
	found, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tried := make(map[cid.Cid]error)
	for h := range e.cfg.Finder.Holders(found, *f.item.SHA256) {
		if f.item.Size >= 0 && h.Size != f.item.Size {
			continue // another file, or a slip of the origin's
		}
		err, again := tried[h.Root]
		if !again {
			got, err = e.copyFrom(ctx, f, h)
			if errors.Is(err, dag.ErrStale) { // what another one has left is gone by now
				got, err = e.copyFrom(ctx, f, h)
			}
			if err == nil {
				return got, true, nil
			}
			tried[h.Root] = err
			e.cfg.Logger.InfoContext(ctx, "a peer was no help", slog.String("url", f.item.URL),
				slog.String("peer", h.Peer), slog.String("cid", h.Root.String()), slog.Any("error", err))
		}
		if ctx.Err() != nil {
			return Fetched{}, false, context.Cause(ctx)
		}
		if lied := isLie(err); lied || isSilence(err) {
			e.cfg.Finder.Blame(h.Peer, lied)
			continue
		}
		return Fetched{}, false, nil // it is nobody's fault out there
	}
	return Fetched{}, false, nil
}

// begun tells whether an earlier download left a beginning of the content.
func (e *Engine) begun(ctx context.Context, f *flight) (bool, error) {
	b, err := e.beginning(ctx, f)
	if err != nil || b == nil {
		return false, err
	}
	e.settle(ctx, b, errLater)
	return true, nil
}

// errLater settles a beginning that is left for another time.
var errLater = errors.New("used later")

// isLie tells whether what a peer named is not what it was named as.
func isLie(err error) bool {
	for _, lie := range []error{connectors.ErrMismatch, dag.ErrMalformed, dag.ErrTooLarge, dag.ErrNotFile} {
		if errors.Is(err, lie) {
			return true
		}
	}
	return false
}

// isSilence tells whether what a peer named did not come.
func isSilence(err error) bool {
	return errors.Is(err, dag.ErrNoProgress) || errors.Is(err, connectors.ErrNotFound) || ipld.IsNotFound(err)
}

// copyFrom brings the root that a peer named, from all who have its blocks.
func (e *Engine) copyFrom(ctx context.Context, f *flight, h Holder) (Fetched, error) {
	it := f.item
	f.begin(FromPeer, 0, h.Size)
	got := Fetched{From: FromPeer, ETag: it.ETag, Verified: true}
	want := expect(it)
	want.size = h.Size
	o := dag.CopyOptions{
		Stall: holderStall, Timeout: holderTimeout, Progress: f.advance,
		Limits: dag.Limits{Bytes: max(h.Size, 1)},
		Keep:   f.kept.Name != "", KeepAs: f.kept,
		Accept: func(file dag.File) (map[string][]byte, error) {
			if err := want.check(it, file, nil); err != nil {
				return nil, err
			}
			return e.aliases(it, &connectors.Body{}, want)
		},
	}
	if f.tee != nil {
		o.Tee = f.tee
	}
	entry, err := e.cfg.Blocks.FetchInto(ctx, partOf(e.cfg.Store.Scope(""), f.part), h.Root, o)
	if err == nil && entry.Type != dag.TypeFile {
		err = dag.ErrNotFile
	}
	if err == nil {
		got.File, err = e.cfg.Store.File(ctx, h.Root)
	}
	if err == nil {
		err = e.admitted(ctx, it, &got)
	}
	got.PeerBytes, got.SavedBytes = f.now().Done, entry.Saved
	if err != nil && got.PeerBytes > 0 {
		f.tee.detach() // it has content that may not be the item's
	}
	return got, err
}
