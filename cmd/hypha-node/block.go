package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/internal/humanize"
)

// blockCmd is `block`.
type blockCmd struct {
	Get  blockGetCmd  `cmd:"" help:"Print a block's bytes."`
	Put  blockPutCmd  `cmd:"" help:"Store a file, or standard input, as one block."`
	Stat blockStatCmd `cmd:"" help:"Print a stored block's size."`
	Rm   blockRmCmd   `cmd:"" help:"Delete a block. What needs it becomes incomplete."`
}

// blockGetCmd is `block get`.
type blockGetCmd struct {
	CID string `arg:"" name:"cid"`
}

// Run prints the block.
func (c *blockGetCmd) Run(ctx context.Context, a *app) error {
	return a.withNode(ctx, func(cl *control.Client) error { return cl.BlockGet(ctx, c.CID, a.stdout) })
}

// blockPutCmd is `block put`.
type blockPutCmd struct {
	File  string `arg:"" default:"-" help:"File; - is standard input."`
	Codec string `default:"raw" enum:"raw,dag-pb" help:"What the block is: raw or dag-pb."`
}

// Run stores the block.
func (c *blockPutCmd) Run(ctx context.Context, a *app) (err error) {
	content := interruptible(ctx, a.stdin)
	if c.File != "-" {
		f, err := os.Open(filepath.Clean(c.File))
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		content = io.Reader(f)
	}
	return a.withNode(ctx, func(cl *control.Client) error {
		s, err := cl.BlockPut(ctx, c.Codec, content)
		if err != nil {
			return err
		}
		return a.out.print(s, "%s", s.CID)
	})
}

// blockStatCmd is `block stat`.
type blockStatCmd struct {
	CID string `arg:"" name:"cid"`
}

// Run describes the block.
func (c *blockStatCmd) Run(ctx context.Context, a *app) error {
	return a.withNode(ctx, func(cl *control.Client) error {
		s, err := cl.BlockStat(ctx, c.CID)
		if err != nil {
			return err
		}
		return a.out.print(s, "%s  %d bytes", s.CID, s.Size)
	})
}

// blockRmCmd is `block rm`.
type blockRmCmd struct {
	CIDs []string `arg:"" name:"cid"`
}

// Run deletes the blocks.
func (c *blockRmCmd) Run(ctx context.Context, a *app) error {
	return a.withNode(ctx, func(cl *control.Client) error {
		for _, id := range c.CIDs {
			if err := cl.BlockRemove(ctx, id); err != nil {
				return err
			}
			if err := a.out.print(control.BlockStat{CID: id}, "removed %s", humanize.Escape(id)); err != nil {
				return err
			}
		}
		return nil
	})
}
