package dag

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/hypha-node/hypha-node/blockstore"
	blocks "github.com/ipfs/go-block-format"
)

// ImportOptions say how content is taken in. The zero value stores it with the
// default profile.
type ImportOptions struct {
	Profile Profile
	// Size is the content's length in bytes, when it is known; 0 and less mean
	// that it is not. Other content than Size bytes is an error.
	Size int64
	// HashOnly computes CIDs and stores nothing; the store may be nil.
	HashOnly bool
	// Tee also gets the content, before Import returns: in order, from one
	// goroutine, beside the store.
	Tee io.WriterAt
	// Also get the content in order, from one goroutine.
	Also []io.Writer
	// Accept is called when everything is known and before anything is
	// recorded. It returns aliases to record; its error discards the content.
	Accept func(File) (aliases map[string][]byte, err error)
	// Progress gets the bytes taken in since its last call; it is called from
	// any goroutine, also several at once.
	Progress func(n int64)
	// Limit is the most bytes of content; 0 means no limit. More is ErrTooLarge.
	Limit int64
	// Keep says how the beginning of content is kept that is cut short: by an
	// error of the reader, the end of ctx, or that of the process. It needs a
	// store that can, raw leaves, a Size of more than one leaf, and writers in
	// Also that are encoding.BinaryMarshaler and BinaryUnmarshaler; otherwise
	// nothing is kept.
	Keep Keep
	// Resume goes on with what was kept: the reader begins behind it, while Tee
	// gets all, and Also and Size are those of all. It is over when Import
	// returns. ErrStale when it does not fit.
	Resume *Partial

	apart bool // hash leaves apart from the whole on any processor: for tests
}

// Import takes content in as a file: leaves, tree and sha256, in constant
// memory. What it returns is stored durably. r is read from the caller's
// goroutine; a Read that blocks is not interrupted by ctx. After an error
// nothing is recorded.
func Import(ctx context.Context, dst blockstore.Store, r io.Reader, o ImportOptions) (File, error) {
	if p := o.Resume; p != nil && (o.HashOnly || o.Profile.v0) {
		return File{}, errors.Join(fmt.Errorf("profile %s, hash only %v: %w", o.Profile, o.HashOnly, ErrStale), p.Drop())
	} else if p != nil {
		f, _, err := o.importTree(ctx, dst, r)
		return f, err
	}
	chunk := o.Profile.leafSize()
	first, err := readFirst(r, chunk, o.Size)
	if err != nil {
		return File{}, err
	}
	if len(first) <= chunk {
		return o.importLeaf(ctx, dst, first)
	}
	f, _, err := o.importTree(ctx, dst, io.MultiReader(bytes.NewReader(first), r))
	return f, err
}

// readFirst reads up to one byte more than a leaf holds.
func readFirst(r io.Reader, chunk int, size int64) ([]byte, error) {
	if size > 0 && size < int64(chunk) {
		chunk = int(size)
	}
	buf := make([]byte, chunk+1)
	n, _, err := readFull(r, buf)
	return buf[:n], err
}

// importLeaf takes in content that is one leaf.
func (o *ImportOptions) importLeaf(ctx context.Context, dst blockstore.Store, content []byte) (File, error) {
	if err := o.checkSize(int64(len(content)), true); err != nil {
		return File{}, err
	}
	blk := o.Profile.leaf(content)
	f := File{Root: blk.Cid(), Size: int64(len(content)), SHA256: o.Profile.leafSum(blk, content)}
	if o.Tee != nil && len(content) > 0 {
		if _, err := o.Tee.WriteAt(content, 0); err != nil {
			return File{}, err
		}
	}
	if err := o.also(content); err != nil {
		return File{}, err
	}
	aliases, err := o.accept(f)
	if err != nil {
		return File{}, err
	}
	if o.Progress != nil {
		o.Progress(f.Size)
	}
	if o.HashOnly {
		return f, nil
	}
	if err := dst.Put(ctx, blk); err != nil {
		return File{}, err
	}
	return f, record(ctx, dst, f, aliases, !o.Profile.v0)
}

// record makes a file durable whose blocks were put, in one step. A raw root needs
// no record of its own, but for a store that has to know whose it is.
func record(ctx context.Context, dst blockstore.Store, f File, aliases map[string][]byte, raw bool) error {
	if recordless(dst, aliases, raw) {
		return dst.Sync(ctx)
	}
	return dst.PutFile(ctx, f, aliases)
}

// recordless tells whether a file is known by its blocks alone.
func recordless(dst blockstore.Store, aliases map[string][]byte, raw bool) bool {
	o, ok := dst.(interface{ Owned() bool })
	return raw && len(aliases) == 0 && (!ok || !o.Owned())
}

// leaf returns the block that holds content.
func (p Profile) leaf(content []byte) blocks.Block {
	if !p.v0 {
		return newBlock(rawCID(sha256.Sum256(content)), content)
	}
	b := append(append(leafHead(len(content)), content...), leafTail(len(content))...)
	return newBlock(p.nodeCID(sha256.Sum256(b)), b)
}

// leafSum returns the sha256 of the content of a leaf, once it is hashed.
func (p Profile) leafSum(blk blocks.Block, content []byte) [sha256.Size]byte {
	if !p.v0 {
		return [sha256.Size]byte(blk.Cid().Hash()[2:])
	}
	return sha256.Sum256(content)
}

func (o *ImportOptions) also(content []byte) error {
	for _, w := range o.Also {
		if _, err := w.Write(content); err != nil {
			return err
		}
	}
	return nil
}

func (o *ImportOptions) accept(f File) (map[string][]byte, error) {
	if o.Accept == nil {
		return nil, nil
	}
	return o.Accept(f)
}

// checkSize holds n bytes, which are all when atEnd, against what was announced
// and allowed.
func (o *ImportOptions) checkSize(n int64, atEnd bool) error {
	switch {
	case o.Limit > 0 && n > o.Limit:
		return fmt.Errorf("content of more than %d bytes: %w", o.Limit, ErrTooLarge)
	case n > maxFile:
		return fmt.Errorf("content of more than %d bytes: %w", maxFile, ErrTooLarge)
	case o.Size > 0 && n > o.Size:
		return fmt.Errorf("content goes on after the announced %d bytes: %w", o.Size, ErrTooLarge)
	case o.Size > 0 && atEnd && n < o.Size:
		return fmt.Errorf("content ends after %d of the announced %d bytes: %w", n, o.Size, io.ErrUnexpectedEOF)
	}
	return nil
}
