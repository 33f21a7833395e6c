package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
	"github.com/hypha-node/hypha-node/connectors/s3"
	"github.com/hypha-node/hypha-node/internal/humanize"
)

// putFiles is how many files are uploaded at once: enough to hide the latency of an
// endpoint, and few with four parts each on the way.
const putFiles = 4

// putCmd is `put`.
type putCmd struct {
	Paths    []string `arg:"" name:"path" help:"Files, and directories with everything below."`
	To       string   `required:"" placeholder:"REF" help:"s3://[ENDPOINT@]bucket/key for one file, s3://[ENDPOINT@]bucket/prefix/ for any."`
	Progress bool     `help:"With --json: lines with \"event\":\"progress\" between those of the files."`
	Hidden   bool     `help:"Files of directories whose names begin with a dot, too."`
}

// put is one line of the output.
type put struct {
	Path    string `json:"path"` // of the file
	URI     string `json:"uri"`
	Size    int64  `json:"size"`
	SHA256  string `json:"sha256"`
	ETag    string `json:"etag,omitempty"`
	Version string `json:"version,omitempty"`
}

// Run uploads, several files at once. After a failure no further one is begun. It
// needs no repository but its configuration.
func (c *putCmd) Run(ctx context.Context, a *app) error {
	to, err := connectors.ParseURI(c.To)
	if err != nil || to.Type != connectors.TypeS3 || len(to.Allow) > 0 {
		return &failure{
			code: exitUsage, err: fmt.Errorf("--to %s is no place of S3", humanize.Escape(c.To)),
			hint: "write s3://bucket/key, or s3://bucket/prefix/ with a slash at the end",
		}
	}
	files, err := c.files(to)
	if err != nil {
		return err
	}
	cfg, err := a.nodeConfig()
	if err != nil {
		return err
	}
	client := httpconn.NewClient(httpconn.Config{UserAgent: "hypha-node/" + Version, Logger: a.log})
	defer client.Close()
	cfg.S3.Client = client
	conn := s3.New(cfg.S3)
	a.events = c.Progress
	shown := a.newProgress()
	defer shown.close()
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(putFiles)
	for _, f := range files {
		if gctx.Err() != nil {
			break
		}
		group.Go(func() error { return f.put(gctx, a, conn, shown) })
	}
	return group.Wait()
}

// upload is a file and where it goes.
type upload struct {
	path string
	to   connectors.Ref
}

// put uploads a file and prints it.
func (u upload) put(ctx context.Context, a *app, conn *s3.Connector, shown *progress) (err error) {
	f, err := os.Open(u.path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	var sent atomic.Int64
	var over atomic.Bool
	defer over.Store(true)
	done, err := conn.Put(ctx, u.to, f, info.Size(), func(n int64) {
		if over.Load() {
			return
		}
		//nolint:errcheck // who can't print the progress can't print the result, which says so
		_ = shown.update(control.Progress{Path: u.path, Done: sent.Add(n), Total: info.Size()})
	})
	if err != nil {
		return err
	}
	sum := hex.EncodeToString(done.SHA256[:])
	line := put{Path: u.path, URI: u.to.String(), Size: done.Size, SHA256: sum, ETag: done.ETag, Version: done.Version}
	over.Store(true)
	return shown.done(u.path, func() error {
		return a.out.print(line, "%s  %s  sha256:%s", humanize.Escape(line.URI), humanize.Bytes(line.Size), sum)
	})
}

// files returns what is to be uploaded, in the order of the paths and of the
// names below them. Everything is looked at before the first byte moves.
func (c *putCmd) files(to connectors.Ref) ([]upload, error) {
	var all []upload
	add := func(path, key string) error {
		info, err := os.Stat(path) // a link to a file is the file
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("%s is no regular file", humanize.Escape(path))
		}
		ref, err := connectors.ObjectRef(to.Endpoint, to.Bucket, key)
		if err != nil {
			return &failure{code: exitUsage, err: fmt.Errorf("%s: %w", humanize.Escape(path), err)}
		}
		all = append(all, upload{path: path, to: ref})
		return nil
	}
	for _, path := range c.Paths {
		info, err := os.Stat(path)
		switch {
		case err != nil:
			return nil, err
		case to.Key != "" && (info.IsDir() || len(c.Paths) > 1):
			return nil, &failure{code: exitUsage, err: errors.New("a key is for one file"), hint: "name a prefix: --to " + humanize.Escape(c.To) + "/"}
		case to.Key != "":
			err = add(path, to.Key)
		case info.IsDir():
			err = c.below(path, func(file, name string) error { return add(file, to.Prefix+name) })
		default:
			err = add(path, to.Prefix+filepath.Base(path))
		}
		if err != nil {
			return nil, err
		}
	}
	if len(all) == 0 {
		return nil, &failure{code: exitNotFound, err: errors.New("there is no file to put")}
	}
	return all, nil
}

// below calls do for every file below a directory, with its path and with its
// slash-separated name inside.
func (c *putCmd) below(dir string, do func(path, name string) error) error {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path != dir && !c.Hidden && strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		case d.IsDir():
			return nil
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		return do(path, filepath.ToSlash(name))
	})
}
