package gateway

import (
	"context"
	"errors"
	"sync"

	boxo "github.com/ipfs/boxo/gateway"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs"
	"github.com/ipfs/boxo/path"
	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/dag"
)

// What files in answers may hold in memory, read and not yet sent: 64 MiB in all.
const (
	maxFiles  = 16
	readAhead = 4 << 20 // bytes, of each
)

// Get answers with what a path leads to. A file that is stored whole is read as the
// store has it, in runs of blocks ahead of the client; everything else, and what there
// is no memory for, is boxo's.
func (b *backend) Get(ctx context.Context, p path.ImmutablePath, ranges ...boxo.ByteRange) (boxo.ContentPathMetadata, *boxo.GetResponse, error) {
	md, err := b.ResolvePath(ctx, p)
	if err != nil || len(md.LastSegmentRemainder) > 0 || !b.holds(ctx, md.LastSegment.RootCid()) {
		return b.BlocksBackend.Get(ctx, p, ranges...)
	}
	select {
	case b.files <- struct{}{}:
	default:
		return b.BlocksBackend.Get(ctx, p, ranges...)
	}
	release := func() { <-b.files }
	file, err := dag.Open(ctx, b.store, md.LastSegment.RootCid())
	if err != nil { // damaged, or collected by now
		release()
		return b.BlocksBackend.Get(ctx, p, ranges...)
	}
	file.ReadAhead(readAhead)
	first, n := part(ranges, file.Size())
	if first < 0 {
		release()
		return md, nil, errors.Join(errRange, file.Close())
	}
	stream, err := file.Stream(ctx, first, n)
	if err != nil {
		release()
		return md, nil, errors.Join(err, file.Close())
	}
	return md, boxo.NewGetResponseFromReader(&content{Stream: stream, file: file, release: release}, file.Size()), nil
}

// errRange says that a range does not begin in the file.
var errRange = errors.New("invalid range: it begins before the file")

// holds tells whether a root is that of a whole file that is stored, which strangers
// may have and which names no time of its own.
func (b *backend) holds(ctx context.Context, root cid.Cid) bool {
	if root.Type() != cid.DagProtobuf || b.served != nil && !b.served(ctx, root) {
		return false
	}
	if _, err := b.store.File(ctx, root); err != nil {
		return false
	}
	var fs *unixfs.FSNode
	err := b.store.View(ctx, root, func(block []byte) error {
		nd, err := merkledag.DecodeProtobuf(block)
		if err == nil {
			fs, err = unixfs.ExtractFSNode(nd)
		}
		return err
	})
	return err == nil && fs.ModTime().IsZero()
}

// part returns what the first of the ranges asks for of a file of size bytes: n bytes
// from first on, which is negative if that is before the file.
func part(ranges []boxo.ByteRange, size int64) (first, n int64) {
	if len(ranges) == 0 {
		return 0, -1
	}
	first = ranges[0].From
	switch to := ranges[0].To; {
	case first < 0 && to != nil:
		return -1, 0
	case first < 0:
		return max(size+first, 0), -1 // of one that is longer than the file, all (RFC 9110, section 14.1.2)
	case to == nil:
		n = -1
	case *to < 0:
		n = max(size+*to-first+1, 0)
	default:
		n = max(*to-first+1, 0)
	}
	return min(first, size), n
}

// content is a part of a file, read ahead until it is closed.
type content struct {
	*dag.Stream

	file    *dag.Reader
	release func()
	closing sync.Once
}

// Close ends the reading and waits for its end.
func (c *content) Close() (err error) {
	c.closing.Do(func() {
		err = errors.Join(c.Stream.Close(), c.file.Close())
		c.release()
	})
	return err
}
