package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
)

// mendPatience is how long peers may send nothing of a block before its origin is
// asked.
const mendPatience = 20 * time.Second

// mend brings the bytes of a damaged block again: from peers, else by a range from
// where its file came from. What is private is asked of nobody: to ask tells that it
// is here, and the credential that it came with is not kept.
func (n *Node) mend(ctx context.Context, d blockstore.Damage) ([]byte, error) {
	if d.Private {
		return nil, fmt.Errorf("%w: it is private, fetch it with its credential again", connectors.ErrNotFound)
	}
	blk, perr := n.blocks.WithTimeout(mendPatience).FromPeers(ctx, d.CID, d.Root)
	if perr == nil {
		n.mended(ctx, d, "peer")
		return blk.RawData(), nil
	}
	data, oerr := n.fromOrigin(ctx, d)
	if oerr != nil {
		return nil, errors.Join(perr, oerr)
	}
	n.mended(ctx, d, "origin")
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
		uri, ok := originOf(key)
		if !ok {
			continue
		}
		data, err := n.rangeOf(ctx, uri, a.Meta, d.Off, d.Length)
		if err != nil {
			last = err
			continue
		}
		if err := verifies(d, data); err != nil {
			last = fmt.Errorf("%s: %w", uri, err)
			continue
		}
		return data, nil
	}
	return nil, last
}

// verifies holds bytes against a hash: of several origins the first may have changed.
func verifies(d blockstore.Damage, data []byte) error {
	sum, err := d.CID.Prefix().Sum(data)
	if err == nil && !sum.Equals(d.CID) {
		err = connectors.ErrMismatch
	}
	return err
}

// rangeOf reads a range of a file at its origin; meta is what is remembered of it.
func (n *Node) rangeOf(ctx context.Context, uri string, meta []byte, off, length int64) ([]byte, error) {
	if off == 0 {
		meta = nil // it would be answered that nothing has changed
	}
	ref, err := connectors.ParseURI(uri)
	if err != nil {
		return nil, err
	}
	for it, err := range n.engine.Resolve(ctx, ref, connectors.Access{}) {
		if err != nil {
			return nil, err
		}
		if it.Open == nil || it.Scope != "" {
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
	return nil, fmt.Errorf("%s: %w", uri, connectors.ErrNotFound)
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
