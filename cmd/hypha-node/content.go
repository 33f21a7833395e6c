package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/internal/humanize"
)

// fileMode and dirMode are the permissions of what is written for people, as
// their umask has them.
func fileMode() fs.FileMode { return 0o666 &^ umask() }
func dirMode() fs.FileMode  { return 0o777 &^ umask() }

// umask returns the process' umask. It can only be read by setting it; nothing
// else runs yet when commands call this.
func umask() fs.FileMode {
	old := syscall.Umask(0o077)
	syscall.Umask(old)
	return fs.FileMode(old) & fs.ModePerm
}

// addCmd is `add`.
type addCmd struct {
	Paths     []string `arg:"" name:"path" help:"Files and directories; - is standard input."`
	Recursive bool     `short:"r" help:"Accepted; directories are always added with everything below."`
	Quiet     bool     `short:"q" help:"Print the last root's CID only."`
	Hidden    bool     `help:"Files of directories whose names begin with a dot, too."`
	Profile   string   `default:"v1-2025" placeholder:"NAME" help:"How content becomes a DAG: v1-2025 (default) or v0-2015."`
	Chunker   string   `placeholder:"size-N" help:"Another leaf size, in bytes."`
	HashOnly  bool     `aliases:"only-hash" help:"Compute CIDs, store nothing."`
	Pin       bool     `default:"true" negatable:"" help:"Keep what is added from being collected. Default; --no-pin or --pin=false does not."`
}

// Run adds.
func (c *addCmd) Run(ctx context.Context, a *app) error {
	a.quiet = c.Quiet
	last := ""
	err := a.withNode(ctx, func(cl *control.Client) error {
		for _, name := range c.Paths {
			root, err := c.add(ctx, a, cl, name)
			if err != nil {
				return err
			}
			last = root
		}
		return nil
	})
	if err == nil && c.Quiet && !a.cli.JSON {
		err = a.out.line("%s", last)
	}
	return err
}

// add stores one path and returns its root.
func (c *addCmd) add(ctx context.Context, a *app, cl *control.Client, name string) (root string, err error) {
	req := control.AddRequest{
		Profile: c.Profile, Chunker: c.Chunker, HashOnly: c.HashOnly, Hidden: c.Hidden, NoPin: !c.Pin,
		RootsOnly: c.Quiet,
	}
	show := func(f control.Added) error {
		if f.Root {
			root = f.CID
		}
		if c.Quiet {
			return nil
		}
		return a.out.print(f, "%s  %s  %s", f.CID, humanize.Bytes(f.Size), humanize.Escape(f.Path))
	}
	if name == "-" {
		req.Name = "-"
		f, err := cl.AddContent(ctx, req, interruptible(ctx, a.stdin))
		if err != nil {
			return "", err
		}
		return f.CID, show(f)
	}
	full, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	req.Paths = []string{full}
	err = each(a, cl.Add(ctx, req), show)
	return root, err
}

// catCmd is `cat`.
type catCmd struct {
	Path   string `arg:"" name:"cid" help:"CID[/path], ipfs://… or /ipfs/…"`
	Offset int64  `placeholder:"N" help:"Begin at this byte."`
	Length int64  `default:"-1" placeholder:"N" help:"Print this many bytes at most."`
	network
}

// Run prints the file.
func (c *catCmd) Run(ctx context.Context, a *app) error {
	req := control.CatRequest{Path: c.Path, Offset: c.Offset, Length: c.Length, TimeoutMS: c.ms()}
	return a.withNode(ctx, func(cl *control.Client) error {
		_, err := cl.Cat(ctx, req, a.stdout)
		return err
	})
}

// getCmd is `get`.
type getCmd struct {
	Path     string `arg:"" name:"cid" help:"CID[/path], ipfs://… or /ipfs/…"`
	Output   string `short:"o" placeholder:"PATH" help:"Where to write it. Default: the path's last part, here. An existing directory gets it inside, if the path names a file."`
	Force    bool   `short:"f" help:"Replace files that have different content."`
	Symlinks bool   `default:"true" negatable:"" help:"Write symlinks that stay inside. Default; --no-symlinks refuses a tree that has some."`
	network
}

// Run writes the file or directory.
func (c *getCmd) Run(ctx context.Context, a *app) error {
	out, err := c.output()
	if err != nil {
		return err
	}
	req := control.GetRequest{
		Path: c.Path, Output: out, Force: c.Force, NoSymlinks: !c.Symlinks, TimeoutMS: c.ms(),
		Mode: uint32(fileMode()), DirMode: uint32(dirMode()), RootOnly: !a.cli.JSON,
	}
	return a.withNode(ctx, func(cl *control.Client) error {
		return each(a, cl.Get(ctx, req), func(w control.Written) error {
			text := fmt.Sprintf("%s  %s", humanize.Escape(display(w.Path)), humanize.Bytes(w.Size))
			if w.SHA256 != "" {
				text += "  sha256:" + w.SHA256
			} else if w.Files > 0 {
				text += fmt.Sprintf("  %d entries", w.Files)
			}
			return a.out.print(w, "%s", text)
		})
	})
}

// output returns the absolute path of what is written.
func (c *getCmd) output() (string, error) {
	out := c.Output
	if out == "" || strings.HasSuffix(out, "/") {
		trimmed := strings.Trim(strings.TrimPrefix(strings.TrimPrefix(c.Path, "ipfs://"), "/ipfs/"), "/")
		out = filepath.Join(out, path.Base(trimmed))
	}
	return filepath.Abs(out)
}

// display returns a path relative to where the user is, if it lies below.
func display(full string) string {
	wd, err := os.Getwd()
	if err != nil {
		return full
	}
	if rel, err := filepath.Rel(wd, full); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return full
}

// lsCmd is `ls`.
type lsCmd struct {
	Path string `arg:"" name:"cid" help:"CID[/path] of a directory."`
	network
}

// Run lists the directory.
func (c *lsCmd) Run(ctx context.Context, a *app) error {
	return a.withNode(ctx, func(cl *control.Client) error {
		return each(a, cl.List(ctx, control.PathRequest{Path: c.Path, TimeoutMS: c.ms()}), func(e control.Entry) error {
			name := humanize.Escape(e.Name)
			switch e.Type {
			case "dir":
				name += "/"
			case "symlink":
				name += "@"
			}
			return a.out.print(e, "%s  %10s  %s", e.CID, humanize.Bytes(e.Size), name)
		})
	})
}

// statCmd is `stat`.
type statCmd struct {
	Path string `arg:"" name:"cid" help:"CID[/path]."`
	network
}

// Run describes it.
func (c *statCmd) Run(ctx context.Context, a *app) error {
	return a.withNode(ctx, func(cl *control.Client) error {
		s, err := cl.Stat(ctx, control.PathRequest{Path: c.Path, TimeoutMS: c.ms()})
		if err != nil {
			return err
		}
		if a.cli.JSON {
			return a.out.print(s, "")
		}
		stored := "no"
		if s.Local {
			stored = "yes"
		}
		rows := [][2]string{
			{"cid", s.CID},
			{"type", s.Type},
			{"size", fmt.Sprintf("%s (%d bytes)", humanize.Bytes(s.Size), s.Size)},
			{"links", fmt.Sprint(s.Links)},
			{"sha256", s.SHA256},
			{"stored whole", stored},
		}
		for _, p := range s.Pins {
			rows = append(rows, [2]string{"pin", pinText(p)})
		}
		return a.out.table(rows)
	})
}

// errUsage returns an error of the command line.
func errUsage(text string) error { return &failure{code: exitUsage, err: errors.New(text)} }
