package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/internal/humanize"
)

// fetchCmd is `fetch`.
type fetchCmd struct {
	Refs     []string `arg:"" name:"ref" help:"hf://owner/name[@rev][/path], https://…, s3://[ENDPOINT@]bucket/key, ipfs://CID[/path], file:///path, or a reference as JSON."`
	Output   string   `short:"o" placeholder:"DIR" help:"Write the files into this directory, too."`
	Include  []string `placeholder:"PATTERN" sep:"none" help:"Only files that match, as in '*.safetensors'."`
	Exclude  []string `placeholder:"PATTERN" sep:"none" help:"No files that match."`
	Checksum string   `placeholder:"SUM" help:"What the one file must have: sha256:HEX, or 'sidecar' if that is in a file beside it, NAME.sha256."`
	DryRun   bool     `help:"Only say what would be fetched."`
	Force    bool     `short:"f" help:"Replace files in DIR that have different content."`
	Pin      bool     `default:"true" negatable:"" help:"Keep what is fetched from being collected. Default; --no-pin or --pin=false does not."`
	Progress bool     `help:"With --json: lines with \"event\":\"progress\" between those of the files."`
	Quiet    bool     `short:"q" help:"Print CIDs only."`
	MaxRate  string   `placeholder:"SIZE" help:"Fetch at most so many bytes per second over HTTP: 20MiB. Without a daemon only, which has a limit of its own."`
	network
}

// Run fetches.
func (c *fetchCmd) Run(ctx context.Context, a *app) error {
	a.quiet, a.events = c.Quiet, c.Progress
	if c.MaxRate != "" {
		if d := a.daemon(ctx); d != nil {
			d.Close()
			return &failure{
				code: exitUsage, err: errors.New("--max-rate: the daemon fetches, within its own limit"),
				hint: "set that with `daemon --max-rate` or `config set max_rate`, and start it again",
			}
		}
	}
	req := control.FetchRequest{
		Include: c.Include, Exclude: c.Exclude, DryRun: c.DryRun, Force: c.Force, NoPin: !c.Pin, TimeoutMS: c.ms(),
		Checksum: c.Checksum, Mode: uint32(fileMode()), DirMode: uint32(dirMode()),
	}
	for _, text := range c.Refs {
		ref, err := reference(text)
		if err != nil {
			return err
		}
		req.Refs = append(req.Refs, ref)
	}
	var err error
	if c.Output != "" {
		if req.Output, err = filepath.Abs(c.Output); err != nil {
			return err
		}
	}
	return a.withNode(ctx, func(cl *control.Client) error {
		return each(a, cl.Fetch(ctx, req), func(f control.Fetched) error { return c.show(a, f) })
	})
}

// show prints one file.
func (c *fetchCmd) show(a *app, f control.Fetched) error {
	if c.Quiet && !a.cli.JSON {
		return a.out.line("%s", f.CID)
	}
	text := []string{humanize.Escape(f.Path), humanize.Bytes(f.Size)}
	if f.CID != "" {
		text = append(text, f.CID)
	}
	if f.SHA256 != "" {
		text = append(text, "sha256:"+f.SHA256)
	}
	if f.From != "" {
		text = append(text, "from "+f.From+over(f.Transport))
	}
	if f.Saved > 0 {
		text = append(text, humanize.Bytes(f.Saved)+" saved by packing")
	}
	switch {
	case f.Transfer == nil:
	case *f.Transfer < 0:
		text = append(text, "unknown over the network")
	default:
		text = append(text, humanize.Bytes(*f.Transfer)+" over the network")
	}
	return a.out.print(f, "%s", strings.Join(text, "  "))
}

// over says how bytes came that did not come over HTTP alone.
func over(transport string) string {
	if transport == "" || transport == "http" {
		return ""
	}
	return " over " + transport
}

// reference returns the JSON of a reference of the command line: a URI, a CID,
// or JSON as it is.
func reference(text string) (json.RawMessage, error) {
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		if !json.Valid([]byte(text)) {
			return nil, &failure{code: exitUsage, err: fmt.Errorf("reference %s is no valid JSON", humanize.Escape(text))}
		}
		return json.RawMessage(text), nil
	}
	root, _, _ := strings.Cut(strings.TrimPrefix(text, "/ipfs/"), "/")
	if _, err := cid.Decode(root); err == nil {
		text = "ipfs://" + strings.TrimPrefix(text, "/ipfs/")
	}
	if !strings.Contains(text, "://") {
		return nil, &failure{
			code: exitUsage, err: fmt.Errorf("reference %q is no URI", text),
			hint: fmt.Sprintf("did you mean hf://%s? `hypha-node add` stores local files", humanize.Escape(text)),
		}
	}
	return json.Marshal(text)
}
