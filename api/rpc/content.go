package rpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/dag"
)

// maxBlock bounds a block that is put: bytes.
const maxBlock = 2 << 20

// cat answers with bytes of a file.
func cat(ctx context.Context, s *Server, c *call) error {
	offset, err := c.number("offset", 0)
	if err != nil {
		return err
	}
	length, err := c.number("length", -1)
	if err != nil {
		return err
	}
	n, err := s.cfg.Client.Cat(ctx, control.CatRequest{Path: c.arg(), Offset: offset, Length: length}, c.content())
	if err == nil && n == 0 {
		c.begin("application/octet-stream")
	}
	return err
}

// Types of links, as Kubo has them.
const (
	linkDirectory = 1
	linkFile      = 2
	linkSymlink   = 4
)

// lsLink is one entry of a listing.
type lsLink struct {
	Name   string
	Hash   string
	Size   uint64
	Type   int
	Target string
}

// lsObject is one listing.
type lsObject struct {
	Hash  string
	Links []lsLink
}

// maxListed bounds the entries of one answer, which is one document.
const maxListed = 100_000

// list answers with the entries of directories.
func list(ctx context.Context, s *Server, c *call) error {
	var all []lsObject
	entries := 0
	for _, name := range c.query["arg"] {
		o := lsObject{Hash: name, Links: []lsLink{}}
		for ev, err := range s.cfg.Client.List(ctx, control.PathRequest{Path: name}) {
			if err != nil {
				return err
			}
			if ev.Item == nil {
				continue
			}
			if entries++; entries > maxListed {
				return refused(http.StatusBadRequest, "more than %d entries: `hypha-node ls` lists them", maxListed)
			}
			kind := map[string]int{"dir": linkDirectory, "file": linkFile, "symlink": linkSymlink}[ev.Item.Type]
			o.Links = append(o.Links, lsLink{Name: ev.Item.Name, Hash: ev.Item.CID, Size: uint64(max(ev.Item.Size, 0)), Type: kind})
		}
		all = append(all, o)
	}
	return c.send(map[string]any{"Objects": all})
}

// blockGet answers with the bytes of a block.
func blockGet(ctx context.Context, s *Server, c *call) error {
	err := s.cfg.Client.BlockGet(ctx, blockName(c.arg()), c.content())
	if err == nil {
		c.begin("application/octet-stream") // if it has none
	}
	return err
}

// blockName takes the prefix off the name of a block.
func blockName(name string) string { return strings.TrimPrefix(name, "/ipfs/") }

// blockInfo describes a block.
type blockInfo struct {
	Key  string
	Size int64
}

// blockPut stores the one part of an upload as a block.
func blockPut(ctx context.Context, s *Server, c *call) error {
	pin, err := c.flag("pin", false)
	if err != nil {
		return err
	}
	defer s.cfg.Store.Hold()()
	codec, v0 := blockCodec(c)
	for p, err := range c.parts() {
		if err != nil {
			return err
		}
		data, err := io.ReadAll(io.LimitReader(p.content, maxBlock+1))
		if err != nil {
			return uploadError(err)
		}
		if len(data) > maxBlock {
			return refused(http.StatusRequestEntityTooLarge, "block exceeds %d bytes", maxBlock)
		}
		got, err := s.cfg.Client.BlockPut(ctx, codec, bytes.NewReader(data))
		if err != nil {
			return err
		}
		if pin {
			if _, err := s.cfg.Client.Pin(ctx, control.PinRequest{Path: got.CID}); err != nil {
				return err
			}
		}
		if id, err := cid.Decode(got.CID); err == nil && v0 {
			got.CID = cid.NewCidV0(id.Hash()).String()
		}
		return c.send(blockInfo{Key: got.CID, Size: got.Size})
	}
	return refused(http.StatusBadRequest, "the upload holds no block")
}

// blockCodec returns the codec of a block that is put, and whether its CID is to be
// of version 0.
func blockCodec(c *call) (codec string, v0 bool) {
	switch format := c.query.Get("format"); format {
	case "v0":
		return "dag-pb", true
	case "protobuf", "dag-pb":
		return "dag-pb", format == "protobuf" && c.query.Get("version") != "1"
	case "raw":
		return "raw", false
	}
	if codec = c.query.Get("cid-codec"); codec == "" {
		codec = "raw"
	}
	return codec, codec == "dag-pb" && c.query.Get("version") == "0"
}

// blockStat answers with the size of a stored block.
func blockStat(ctx context.Context, s *Server, c *call) error {
	st, err := s.cfg.Client.BlockStat(ctx, blockName(c.arg()))
	if err != nil {
		return err
	}
	return c.send(blockInfo{Key: st.CID, Size: st.Size})
}

// blockRemove deletes blocks, one line each. Pinned ones stay.
func blockRemove(ctx context.Context, s *Server, c *call) error {
	force, err := c.flag("force", false)
	if err != nil {
		return err
	}
	pinned := map[string]bool{}
	for ev, err := range s.cfg.Client.Pins(ctx) {
		if err != nil {
			return err
		}
		if id, err := cid.Decode(ev.Item.CID); err == nil {
			pinned[string(id.Hash())] = true
		}
	}
	for _, name := range c.query["arg"] {
		name = blockName(name)
		id, err := cid.Decode(name)
		if err != nil {
			return refused(http.StatusBadRequest, "invalid CID %.100q: %v", name, err)
		}
		line := map[string]string{"Hash": name}
		if pinned[string(id.Hash())] {
			line["Error"] = "pinned: unpin it first"
		} else if err := s.cfg.Client.BlockRemove(ctx, name); err != nil && !force {
			line["Error"] = err.Error()
		}
		if err := c.send(line); err != nil {
			return err
		}
	}
	return nil
}

// link is a CID as DAG-JSON has it.
type link map[string]string

func newLink(c string) link { return link{"/": c} }

// dagImport imports the CARs of an upload.
func dagImport(ctx context.Context, s *Server, c *call) error {
	pin, err := c.flag("pin-roots", true)
	if err != nil {
		return err
	}
	stats, err := c.flag("stats", false)
	if err != nil {
		return err
	}
	_ = http.NewResponseController(c.w).EnableFullDuplex() //nolint:errcheck // else lines come at the end
	var blocks, total int64
	n := 0
	for p, err := range c.parts() {
		if err != nil {
			return err
		}
		n++
		got, err := s.cfg.Client.DAGImportContent(ctx, control.ImportRequest{NoPin: !pin}, p.content)
		if err != nil {
			return err
		}
		blocks, total = blocks+got.Blocks, total+got.Bytes
		for _, root := range got.Roots {
			if !pin {
				break // Kubo tells of roots that it has pinned
			}
			if err := c.send(map[string]any{"Root": map[string]any{"Cid": newLink(root), "PinErrorMsg": ""}}); err != nil {
				return err
			}
		}
	}
	if n == 0 {
		return refused(http.StatusBadRequest, "the upload holds no CAR")
	}
	if stats {
		return c.send(map[string]any{"Stats": map[string]int64{"BlockCount": blocks, "BlockBytesCount": total}})
	}
	c.begin("application/json")
	return nil
}

// dagExport answers with a CAR.
func dagExport(ctx context.Context, s *Server, c *call) error {
	_, err := s.cfg.Client.DAGExportTo(ctx, control.ExportRequest{Path: c.arg()}, c.content())
	return err
}

// dagStat counts the blocks under roots that are stored.
func dagStat(ctx context.Context, s *Server, c *call) error {
	defer s.cfg.Store.Hold()()
	var stats []map[string]any
	var sum, blocks int64
	var roots []cid.Cid
	for _, name := range c.query["arg"] {
		root, err := resolve(ctx, s, name)
		if err != nil {
			return err
		}
		roots = append(roots, root)
		n, size, err := count(ctx, s, []cid.Cid{root})
		if err != nil {
			return err
		}
		sum += size
		stats = append(stats, map[string]any{"Cid": newLink(root.String()), "Size": size, "NumBlocks": n})
	}
	blocks, total, err := count(ctx, s, roots)
	if err != nil {
		return err
	}
	ratio := 1.0
	if total > 0 {
		ratio = float64(sum) / float64(total)
	}
	return c.send(map[string]any{
		"UniqueBlocks": blocks, "TotalSize": total, "SharedSize": sum - total,
		"Ratio": ratio, "redundantSize": sum, "DagStats": stats,
	})
}

// count counts the blocks under roots, each once.
func count(ctx context.Context, s *Server, roots []cid.Cid) (n, size int64, err error) {
	for b, err := range dag.Blocks(ctx, s.cfg.Store, roots, dag.BlocksOptions{Sizes: true}) {
		if err != nil {
			return 0, 0, err
		}
		n++
		size += b.Size
	}
	return n, size, nil
}

// resolve returns the CID of a stored path.
func resolve(ctx context.Context, s *Server, name string) (cid.Cid, error) {
	root, below, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(name, "ipfs://"), "/ipfs/"), "/")
	c, err := cid.Decode(root)
	if err != nil {
		return cid.Undef, refused(http.StatusBadRequest, "invalid CID %.100q: %v", root, err)
	}
	if below = strings.Trim(path.Clean("/"+below), "/"); below == "" {
		return c, nil
	}
	c, err = dag.Resolve(ctx, s.cfg.Store, c, below)
	if errors.Is(err, dag.ErrNotDir) || ipld.IsNotFound(err) {
		return cid.Undef, refused(http.StatusBadRequest, "%.100q: %v", name, err)
	}
	return c, err
}

// repoStat counts what the repository holds.
func repoStat(ctx context.Context, s *Server, c *call) error {
	u, err := s.cfg.Client.Usage(ctx)
	if err != nil {
		return err
	}
	most := uint64(max(u.StorageMax, 0))
	if most == 0 {
		most = uint64(u.DiskBytes) + uint64(max(u.FreeBytes, 0))
	}
	return c.send(map[string]any{
		"RepoSize": u.DiskBytes, "StorageMax": most, "NumObjects": u.Blocks,
		"RepoPath": u.Repo, "Version": "hypha@" + strconv.Itoa(1),
	})
}

// repoGC collects. What went is counted, not listed: the answer has no lines.
func repoGC(ctx context.Context, s *Server, c *call) error {
	if _, err := s.cfg.Client.Collect(ctx); err != nil {
		return err
	}
	c.begin("application/json")
	return nil
}
