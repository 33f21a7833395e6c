package ingest

import (
	"context"
	"crypto/sha256"

	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"

	"github.com/hypha-node/hypha-node/blockstore"
)

// Announced returns what the network is told of a stored root: nothing if it is
// private, else the root and, if it is a file, the CID that its content would have
// as one raw block. That one can be worked out from the sha256 alone.
func Announced(ctx context.Context, s blockstore.Store, root cid.Cid) ([]cid.Cid, error) {
	private, err := blockstore.IsPrivate(ctx, s, root)
	if err != nil || private {
		return nil, err
	}
	f, err := s.File(ctx, root)
	if err != nil {
		return []cid.Cid{root}, ignoreNotFound(err)
	}
	hash, err := mh.Encode(f.SHA256[:], mh.SHA2_256)
	if err != nil {
		return nil, err
	}
	key := cid.NewCidV1(cid.Raw, hash)
	if key.Equals(root) {
		return []cid.Cid{root}, nil
	}
	return []cid.Cid{root, key}, nil
}

// Public returns the stored file with a sha256, if it is here and nobody needs a
// credential for it.
func Public(ctx context.Context, s blockstore.Store, sum [sha256.Size]byte) (f blockstore.File, ok bool, err error) {
	a, err := s.Alias(ctx, sha256Key(sum))
	if err == nil {
		f, err = s.File(ctx, a.Root)
	} else if err = ignoreNotFound(err); err == nil {
		f, err = leafFile(ctx, s, sum)
	}
	if err != nil {
		return blockstore.File{}, false, ignoreNotFound(err)
	}
	private, err := blockstore.IsPrivate(ctx, s, f.Root)
	return f, err == nil && !private, err
}

// leafFile returns a file that is one raw block, which needs no alias.
func leafFile(ctx context.Context, s blockstore.Store, sum [sha256.Size]byte) (blockstore.File, error) {
	hash, err := mh.Encode(sum[:], mh.SHA2_256)
	if err != nil {
		return blockstore.File{}, err
	}
	return s.File(ctx, cid.NewCidV1(cid.Raw, hash))
}
