package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/vbauerster/mpb/v8/cwriter"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/internal/humanize"
)

// dagCmd is `dag`.
type dagCmd struct {
	Export dagExportCmd `cmd:"" help:"Write everything under a CID as a CAR."`
	Import dagImportCmd `cmd:"" help:"Store the blocks of CARs, and pin their roots."`
}

// dagExportCmd is `dag export`.
type dagExportCmd struct {
	Path       string `arg:"" name:"cid" help:"CID[/path], ipfs://… or /ipfs/…"`
	Output     string `short:"o" placeholder:"FILE" help:"Where to write it; - is standard output, the default."`
	Force      bool   `short:"f" help:"Replace the file."`
	CARVersion int64  `name:"car-version" default:"1" enum:"1,2" placeholder:"N" help:"1 (default) or 2."`
	network
}

// Run writes the CAR.
func (c *dagExportCmd) Run(ctx context.Context, a *app) error {
	req := control.ExportRequest{Path: c.Path, Version: c.CARVersion, TimeoutMS: c.ms()}
	if c.Output == "" || c.Output == "-" {
		if cwriter.IsTerminal(int(a.stdout.Fd())) {
			return &failure{code: exitUsage, err: fmt.Errorf("a CAR is not for a terminal"), hint: "name a file: -o FILE"}
		}
		return a.withNode(ctx, func(cl *control.Client) error {
			_, err := cl.DAGExportTo(ctx, req, a.stdout)
			return err
		})
	}
	full, err := filepath.Abs(c.Output)
	if err != nil {
		return err
	}
	req.Output, req.Force, req.Mode, req.DirMode = full, c.Force, uint32(fileMode()), uint32(dirMode())
	return a.withNode(ctx, func(cl *control.Client) error {
		return each(a, cl.DAGExport(ctx, req), func(e control.Exported) error {
			return a.out.print(e, "%s  %s  %d blocks  %s", e.CID, humanize.Bytes(e.Size), e.Blocks, humanize.Escape(display(e.Output)))
		})
	})
}

// dagImportCmd is `dag import`.
type dagImportCmd struct {
	Files []string `arg:"" name:"file" help:"CARs of version 1 or 2; - is standard input."`
	Pin   bool     `default:"true" negatable:"" help:"Keep what is under the roots from being collected; all of it has to be there. Default; --no-pin or --pin=false does not."`
	Name  string   `placeholder:"TEXT" help:"Name of the pins."`
}

// Run imports.
func (c *dagImportCmd) Run(ctx context.Context, a *app) error {
	show := func(i control.Imported) error {
		roots := "no root"
		if len(i.Roots) > 0 {
			roots = strings.Join(i.Roots, " ")
		}
		return a.out.print(i, "%s  %d blocks  %s  %s", roots, i.Blocks, humanize.Bytes(i.Bytes), humanize.Escape(i.Path))
	}
	return a.withNode(ctx, func(cl *control.Client) error {
		for _, name := range c.Files {
			req := control.ImportRequest{NoPin: !c.Pin, PinName: c.Name}
			if name == "-" {
				i, err := cl.DAGImportContent(ctx, req, interruptible(ctx, a.stdin))
				if err == nil {
					err = show(i)
				}
				if err != nil {
					return err
				}
				continue
			}
			full, err := filepath.Abs(name)
			if err != nil {
				return err
			}
			req.Paths = []string{full}
			if err := each(a, cl.DAGImport(ctx, req), show); err != nil {
				return err
			}
		}
		return nil
	})
}
