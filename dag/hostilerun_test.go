package dag

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

func TestHostile(t *testing.T) {
	cases := append(append(hostileFiles(), hostileDirs()...), hostileShards()...)
	if len(cases) < 100 {
		t.Errorf("only %d cases", len(cases))
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStore(t)
			root := c.make(forge{t, s})
			src := &counted{Memory: s}
			for op, run := range map[int]func(t *testing.T, src *counted, root cid.Cid) error{
				opStat: hostileStat, opList: hostileList, opWalk: hostileWalk, opRead: hostileRead, opCopy: hostileCopy, opExport: hostileExport,
			} {
				src.n.Store(0)
				err := run(t, src, root)
				if n := src.n.Load(); n > 20_000 {
					t.Errorf("operation %d read %d blocks", op, n)
				}
				if c.fails&op == 0 {
					continue
				}
				if !refused(err, c.want) {
					t.Errorf("operation %d: %v, want %v", op, err, c.want)
				}
			}
		})
	}
}

func refused(err error, want []error) bool {
	if want == nil {
		return ipld.IsNotFound(err)
	}
	for _, w := range want {
		if errors.Is(err, w) {
			return true
		}
	}
	// A directory can't be read as a file, and a file not be listed.
	return errors.Is(err, ErrNotDir) || errors.Is(err, ErrNotFile)
}

// counted counts what is read of a store.
type counted struct {
	*blockstore.Memory
	n atomic.Int64
}

func (c *counted) Get(ctx context.Context, id cid.Cid) (blocks.Block, error) {
	c.n.Add(1)
	return c.Memory.Get(ctx, id)
}

func (c *counted) View(ctx context.Context, id cid.Cid, f func([]byte) error) error {
	c.n.Add(1)
	return c.Memory.View(ctx, id, f)
}

func hostileStat(t *testing.T, src *counted, root cid.Cid) error {
	_, err := Stat(t.Context(), src, root)
	return err
}

func hostileList(t *testing.T, src *counted, root cid.Cid) (err error) {
	for _, err = range List(t.Context(), src, root) {
	}
	return err
}

func hostileWalk(t *testing.T, src *counted, root cid.Cid) (err error) {
	for _, err = range Walk(t.Context(), src, root, Limits{}) {
	}
	return err
}

// hostileRead reads a file as somebody with a small disk.
func hostileRead(t *testing.T, src *counted, root cid.Cid) error {
	r, err := Open(t.Context(), src, root)
	if err != nil {
		return err
	}
	_, err = r.CopyRange(t.Context(), &small{20 << 20}, 0, -1)
	return errors.Join(err, r.Close())
}

// small is a writer that is full after some bytes.
type small struct{ left int }

func (s *small) Write(p []byte) (int, error) {
	n := min(len(p), s.left)
	s.left -= n
	if n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, nil
}

func hostileCopy(t *testing.T, src *counted, root cid.Cid) error {
	p := newPeer(t, src)
	p.closing = true
	ours := newStore(t)
	_, err := Copy(t.Context(), ours, p, root, CopyOptions{Limits: Limits{Bytes: 1 << 30}})
	if err != nil && root.Defined() && root.Type() != cid.Raw {
		if _, err := ours.File(t.Context(), root); err == nil {
			t.Error("recorded all the same")
		}
	}
	return err
}

// hostileExport exports into a directory beside others, and looks at them.
func hostileExport(t *testing.T, src *counted, root cid.Cid) error {
	base := t.TempDir()
	for _, d := range []string{"in", "beside"} {
		if err := os.Mkdir(filepath.Join(base, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Export(t.Context(), src, root, openRoot(t, filepath.Join(base, "in")), "out", ExportOptions{Symlinks: true})
	for p, content := range readTree(t, base) {
		if p != "beside/" && !strings.HasPrefix(p, "in/") {
			t.Errorf("%q was made outside", p)
		}
		if strings.Contains(p, ".hypha-tmp-") || strings.HasPrefix(content, "->/") {
			t.Errorf("%q was left behind: %q", p, content)
		}
	}
	return err
}
