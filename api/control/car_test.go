package control

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"

	"github.com/hypha-node/hypha-node/dag/car"
	"github.com/hypha-node/hypha-node/internal/dagcbor"
)

// writeCAR writes a CAR of raw blocks with those contents.
func writeCAR(t *testing.T, roots []cid.Cid, contents ...string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := car.NewWriter(&b, roots)
	must(t, err)
	for _, text := range contents {
		must(t, w.Write(rawCID(t, text), []byte(text)))
	}
	return b.String()
}

func rawCID(t *testing.T, text string) cid.Cid {
	t.Helper()
	c, err := cid.Prefix{Version: 1, Codec: cid.Raw, MhType: mh.SHA2_256, MhLength: -1}.Sum([]byte(text))
	must(t, err)
	return c
}

// pinned returns the pinned roots.
func pinned(t *testing.T, r *rig) (roots []string) {
	t.Helper()
	for ev, err := range r.Pins(t.Context()) {
		must(t, err)
		roots = append(roots, ev.Item.CID+ev.Item.Name)
	}
	return roots
}

// importFile imports a CAR from disk.
func importFile(t *testing.T, r *rig, req ImportRequest) (got Imported, err error) {
	t.Helper()
	for ev, err := range r.DAGImport(t.Context(), req) {
		if err != nil {
			return got, err
		}
		if ev.Item != nil {
			got = *ev.Item
		}
	}
	return got, nil
}

func TestCAR(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		text := strings.Repeat("0123456789abcdef", 200_000) // several leaves that are alike
		dir := filepath.Join(r.dir, "tree")
		must(t, os.MkdirAll(filepath.Join(dir, "sub"), 0o700))
		for _, name := range []string{"a", "sub/b"} {
			must(t, os.WriteFile(filepath.Join(dir, name), []byte(text+name), 0o600))
		}
		var root string
		for ev, err := range r.Add(t.Context(), AddRequest{Paths: []string{dir}}) {
			must(t, err)
			if ev.Item != nil && ev.Item.Root {
				root = ev.Item.CID
			}
		}
		for _, version := range []int64{1, 2} {
			var streamed bytes.Buffer
			n, err := r.DAGExportTo(t.Context(), ExportRequest{Path: root, Version: version}, &streamed)
			must(t, err)
			if n != int64(streamed.Len()) || n > int64(2*len(text)) {
				t.Errorf("%d of %d bytes", n, streamed.Len())
			}
			out := filepath.Join(r.dir, "new", "x.car")
			for range 2 { // the second time it is there
				var got Exported
				for ev, err := range r.DAGExport(t.Context(), ExportRequest{Path: root, Version: version, Output: out, Force: true}) {
					must(t, err)
					if ev.Item != nil {
						got = *ev.Item
					}
				}
				if got.CID != root || got.Size != n || got.Blocks < 5 {
					t.Errorf("%+v", got)
				}
			}
			file, err := os.ReadFile(out)
			must(t, err)
			if !bytes.Equal(file, streamed.Bytes()) {
				t.Error("the file differs from the stream")
			}
			var refused error // after the progress, if there was any
			for _, refused = range r.DAGExport(t.Context(), ExportRequest{Path: root, Output: out}) {
				continue
			}
			wantError(t, refused, CodeConflict, "exists")

			other := newRig(t)
			other.Client = serve(t, other.server)
			got, err := importFile(t, other, ImportRequest{Paths: []string{out}, PinName: " named"})
			must(t, err)
			if got.Path != "x.car" || !got.Pinned || len(got.Roots) != 1 || got.Roots[0] != root {
				t.Errorf("%+v", got)
			}
			if pins := pinned(t, other); len(pins) != 1 || pins[0] != root+" named" {
				t.Errorf("pins %q", pins)
			}
			_, err = other.Collect(t.Context())
			must(t, err)
			var back bytes.Buffer
			_, err = other.Cat(t.Context(), CatRequest{Path: root + "/sub/b", Length: -1}, &back)
			must(t, err)
			if back.String() != text+"sub/b" {
				t.Errorf("%d bytes came back", back.Len())
			}
			other.Close()
		}
	})
}

// TestImportRefuses: what is wrong is told, and nothing is pinned.
func TestImportRefuses(t *testing.T) {
	hello, absent := rawCID(t, "hello"), rawCID(t, "absent")
	good := writeCAR(t, []cid.Cid{hello}, "hello", "world")
	both(t, func(t *testing.T, r *rig) {
		for _, tc := range []struct {
			name, car    string
			status       int
			code, detail string
		}{
			{"empty", "", 422, CodeMalformed, "empty"},
			{"no CAR", strings.Repeat("no CAR ", 30), 422, CodeMalformed, "header"},
			{"cut", good[:len(good)-1], 422, CodeMalformed, "cut off at byte"},
			{"wrong bytes", good[:len(good)-1] + "x", 422, CodeMismatch, "before byte"},
			{"root is missing", writeCAR(t, []cid.Cid{hello, absent}, "hello"), 422, CodeMalformed, absent.String()},
		} {
			name := filepath.Join(r.dir, "bad.car")
			must(t, os.WriteFile(name, []byte(tc.car), 0o600))
			_, err := importFile(t, r, ImportRequest{Paths: []string{name}})
			_, serr := r.DAGImportContent(t.Context(), ImportRequest{}, strings.NewReader(tc.car))
			for _, err := range []error{err, serr} {
				e, ok := errors.AsType[*Error](err)
				if !ok || e.Status != tc.status || e.Code != tc.code || !strings.Contains(e.Detail, tc.detail) {
					t.Errorf("%s: %+v", tc.name, err)
				}
			}
			if pins := pinned(t, r); len(pins) > 0 {
				t.Errorf("%s: pins %q", tc.name, pins)
			}
		}
		got, err := r.DAGImportContent(t.Context(), ImportRequest{NoPin: true}, strings.NewReader(writeCAR(t, []cid.Cid{hello, absent}, "hello")))
		must(t, err)
		if got.Pinned || got.Blocks != 1 || got.Bytes != 5 || len(got.Roots) != 2 {
			t.Errorf("%+v", got)
		}
		for _, req := range []ImportRequest{{}, {Paths: []string{"relative"}}, {Paths: []string{r.dir}}} {
			_, err := importFile(t, r, req)
			wantError(t, err, CodeInvalid, "")
		}
		_, err = importFile(t, r, ImportRequest{Paths: []string{filepath.Join(r.dir, "absent")}})
		wantError(t, err, CodeNotFound, "")
		_, err = r.DAGExportTo(t.Context(), ExportRequest{Path: absent.String()}, new(bytes.Buffer))
		wantError(t, err, CodeNotFound, "")
		_, err = r.DAGExportTo(t.Context(), ExportRequest{Path: hello.String(), Version: 3}, new(bytes.Buffer))
		wantError(t, err, CodeInvalid, "")
	})
}

// TestCARKeepsCBOR: a pin on DAG-CBOR keeps what it links to from being collected.
func TestCARKeepsCBOR(t *testing.T) {
	r := newRig(t)
	r.Client = NewLocal(r.server)
	leaf := rawCID(t, "leaf")
	node := append(dagcbor.AppendHead(nil, dagcbor.Link, uint64(leaf.ByteLen())), leaf.Bytes()...)
	root, err := cid.Prefix{Version: 1, Codec: cid.DagCBOR, MhType: mh.SHA2_256, MhLength: -1}.Sum(node)
	must(t, err)
	var b bytes.Buffer
	w, err := car.NewWriter(&b, []cid.Cid{root})
	must(t, err)
	must(t, w.Write(leaf, []byte("leaf")))
	must(t, w.Write(root, node))
	_, err = r.DAGImportContent(t.Context(), ImportRequest{}, &b)
	must(t, err)
	loose, err := blocks.NewBlockWithCid([]byte("loose"), rawCID(t, "loose"))
	must(t, err)
	must(t, r.server.Store.Put(t.Context(), loose))
	got, err := r.Collect(t.Context())
	must(t, err)
	if has, err := r.server.Store.Has(t.Context(), leaf); err != nil || !has || got.Blocks != 1 {
		t.Errorf("leaf is there: %v, %v; collected %+v", has, err, got)
	}
}
