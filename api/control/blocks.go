package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"
	mc "github.com/multiformats/go-multicodec"
	mh "github.com/multiformats/go-multihash"

	"github.com/hypha-node/hypha-node/dag"
)

// maxBlock bounds a block: bytes. Bitswap's limit, see docs/terms.md.
const maxBlock = 2 << 20

// decodeCID reads a CID of a request.
func decodeCID(text string) (cid.Cid, error) {
	c, below, err := parse(text)
	if err == nil && below != "" {
		return cid.Undef, invalid("%q names something below a block", text)
	}
	return c, err
}

// blockGet answers with one block's bytes, from here or from peers.
func (s *Server) blockGet(w http.ResponseWriter, r *http.Request) {
	data, err := s.block(r)
	if err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/vnd.ipld.raw")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = w.Write(data) //nolint:errcheck // a client that is gone can't be told
}

// block returns the bytes of the block that a request names.
func (s *Server) block(r *http.Request) ([]byte, error) {
	c, err := decodeCID(r.PathValue("cid"))
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(r.Context()) // ends the session
	defer stop()
	blk, err := s.source(ctx, 0).Get(ctx, c)
	if err != nil {
		return nil, err
	}
	return blk.RawData(), nil
}

// blockPut stores one block. Its codec's links are read, so that nothing
// malformed enters.
func (s *Server) blockPut(w http.ResponseWriter, r *http.Request) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBlock))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			err = &Error{Status: http.StatusRequestEntityTooLarge, Code: CodeTooLarge, Detail: fmt.Sprintf("block exceeds %d bytes", maxBlock)}
		}
		refuse(w, r, err)
		return
	}
	stat, err := s.put(r.Context(), r.URL.Query().Get("codec"), data)
	if err != nil {
		writeError(w, err)
		return
	}
	writeJSON(w, http.StatusOK, stat)
}

// put stores bytes as a block of a codec, durably.
func (s *Server) put(ctx context.Context, codec string, data []byte) (BlockStat, error) {
	kind := mc.Raw
	switch codec {
	case "", "raw":
	case "dag-pb":
		kind = mc.DagPb
	default:
		return BlockStat{}, invalid("codec %q: expected raw or dag-pb", codec)
	}
	sum, err := mh.Sum(data, mh.SHA2_256, -1)
	if err != nil {
		return BlockStat{}, err
	}
	c := cid.NewCidV1(uint64(kind), sum)
	if _, err := dag.Links(c, data); err != nil {
		return BlockStat{}, err
	}
	blk, err := blocks.NewBlockWithCid(data, c)
	if err != nil {
		return BlockStat{}, err
	}
	if err := s.Store.Put(ctx, blk); err != nil {
		return BlockStat{}, err
	}
	if err := s.Store.Sync(ctx); err != nil {
		return BlockStat{}, err
	}
	if s.Network != nil {
		s.Network.Notify()
	}
	return BlockStat{CID: c.String(), Size: int64(len(data))}, nil
}

// blockStat describes one stored block.
func (s *Server) blockStat(ctx context.Context, k key) (BlockStat, error) {
	c, err := decodeCID(k.Value)
	if err != nil {
		return BlockStat{}, err
	}
	size, err := s.Store.GetSize(ctx, c)
	return BlockStat{CID: c.String(), Size: int64(size)}, err
}

// blockRemove deletes one block. What needs it becomes incomplete.
func (s *Server) blockRemove(ctx context.Context, k key) (none, error) {
	c, err := decodeCID(k.Value)
	if err != nil {
		return none{}, err
	}
	has, err := s.Store.Has(ctx, c)
	if err == nil && !has {
		err = format.ErrNotFound{Cid: c}
	}
	if err != nil {
		return none{}, err
	}
	if err := s.Store.DeleteBlock(ctx, c); err != nil {
		return none{}, err
	}
	return none{}, s.Store.Sync(ctx)
}
