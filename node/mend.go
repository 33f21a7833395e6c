package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"strings"
	"time"

	blocks "github.com/ipfs/go-block-format"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/dag"
)

// mendPatience is how long peers may send nothing of a block before its origin is
// asked.
const mendPatience = 20 * time.Second

// mend brings the bytes of a damaged block again: an inner node from the leaves of its
// file, anything from peers, else by a range from where its file came from. What is
// private is asked of no peer: to ask tells that it is here. Nor is it asked of an origin
// whose credential came with a reference, which is not kept: only of those whose
// credentials are in this node's configuration.
func (n *Node) mend(ctx context.Context, d blockstore.Damage) ([]byte, error) {
	data, rerr := n.fromLeaves(ctx, d)
	if rerr == nil {
		n.mended(ctx, d, "leaves")
		return data, nil
	}
	var perr error
	if !d.Private {
		var blk blocks.Block
		if blk, perr = n.blocks.WithTimeout(mendPatience).FromPeers(ctx, d.CID, d.Root); perr == nil {
			n.mended(ctx, d, "peer")
			return blk.RawData(), nil
		}
	}
	data, oerr := n.fromOrigin(ctx, d)
	if oerr == nil {
		n.mended(ctx, d, "origin")
		return data, nil
	}
	if d.Private {
		perr = fmt.Errorf("%w: it is private, fetch it with its credential again", connectors.ErrNotFound)
	}
	return nil, errors.Join(rerr, perr, oerr)
}

// errNotInner says that a block is no inner node of a file that lies in one piece.
var errNotInner = errors.New("not an inner node of a file")

// fromLeaves makes an inner node of a file anew.
func (n *Node) fromLeaves(ctx context.Context, d blockstore.Damage) ([]byte, error) {
	if !d.Root.Defined() || d.Off >= 0 {
		return nil, errNotInner
	}
	leaves, err := n.store.LeavesOf(ctx, d.Root)
	if err != nil {
		return nil, err
	}
	data, err := dag.RebuildNode(leaves, d.CID)
	if err != nil {
		return nil, fmt.Errorf("inner node: %w", err)
	}
	return data, nil
}

func (n *Node) mended(ctx context.Context, d blockstore.Damage, from string) {
	n.log.WarnContext(ctx, "damaged block was fetched again", slog.String("cid", d.CID.String()), slog.String("from", from), slog.Int64("bytes", d.Length))
}

// fromOrigin asks the origins that are remembered of a file for a range.
func (n *Node) fromOrigin(ctx context.Context, d blockstore.Damage) ([]byte, error) {
	if !d.Root.Defined() || d.Off < 0 {
		return nil, fmt.Errorf("origin: %w: the block is in no content that is known", connectors.ErrNotFound)
	}
	all, err := n.store.AliasesOf(ctx, d.Root)
	if err != nil {
		return nil, err
	}
	last := fmt.Errorf("origin: %w: none is known", connectors.ErrNotFound)
	for key, a := range all {
		for ref, err := range n.originsOf(key) {
			if err != nil {
				last = err
				continue
			}
			if d.Private && ref.Type != connectors.TypeS3 {
				continue
			}
			data, err := n.rangeOf(ctx, ref, a.Meta, d.Off, d.Length)
			if err == nil {
				err = verifies(d, data)
			}
			if err != nil {
				last = fmt.Errorf("origin %s: %w", key, err)
				continue
			}
			return data, nil
		}
	}
	return nil, last
}

// originsOf yields what an alias key stands for, at the origins that have it.
func (n *Node) originsOf(key string) iter.Seq2[connectors.Ref, error] {
	return func(yield func(connectors.Ref, error) bool) {
		if uri, ok := originOf(key); ok {
			yield(connectors.ParseURI(uri))
			return
		}
		for _, ref := range n.objects.Known(key) {
			if !yield(ref, nil) {
				return
			}
		}
	}
}

// verifies holds bytes against a hash: of several origins the first may have changed.
func verifies(d blockstore.Damage, data []byte) error {
	sum, err := d.CID.Prefix().Sum(data)
	if err == nil && !sum.Equals(d.CID) {
		err = connectors.ErrMismatch
	}
	return err
}

// rangeOf reads a range of a file at its origin; meta is what is remembered of it. The
// credentials of S3 are the operator's, those of others would be a job's.
func (n *Node) rangeOf(ctx context.Context, ref connectors.Ref, meta []byte, off, length int64) ([]byte, error) {
	if off == 0 {
		meta = nil // it would be answered that nothing has changed
	}
	configured := ref.Type == connectors.TypeS3
	for it, err := range n.engine.Resolve(ctx, ref, connectors.Access{Operator: configured}) {
		if err != nil {
			return nil, err
		}
		if it.Open == nil || it.Scope != "" && !configured {
			break
		}
		body, err := it.Open(ctx, off, length, meta)
		if err != nil {
			return nil, err
		}
		data := make([]byte, length)
		_, err = io.ReadFull(body, data)
		return data, errors.Join(err, body.Close())
	}
	return nil, connectors.ErrNotFound
}

// originOf returns the URI that an alias key of ingest's stands for, unless that
// needs a credential.
func originOf(key string) (uri string, ok bool) {
	if rest, ok := strings.CutPrefix(key, "url:"); ok {
		return rest, !strings.Contains(rest, "#")
	}
	rest, ok := strings.CutPrefix(key, "hf:")
	if !ok {
		return "", false
	}
	kind, rest, ok := strings.Cut(rest, "/")
	at := strings.Index(rest, "@")
	if !ok || at < 0 {
		return "", false
	}
	commit, path, ok := strings.Cut(rest[at:], "/")
	escaped := strings.NewReplacer("%", "%25", "?", "%3F", "*", "%2A", "[", "%5B").Replace(path)
	return "hf://" + kind + "s/" + rest[:at] + commit + "/" + escaped, ok && !strings.HasSuffix(path, "/")
}
