package dag

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/internal/dagcbor"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	mh "github.com/multiformats/go-multihash"
)

// putCodec stores a block of a codec.
func putCodec(t *testing.T, s blockstore.Store, codec, hash uint64, data string) cid.Cid {
	t.Helper()
	c, err := cid.Prefix{Version: 1, Codec: codec, MhType: hash, MhLength: -1}.Sum([]byte(data))
	if err != nil {
		t.Fatal(err)
	}
	blk, err := blocks.NewBlockWithCid([]byte(data), c)
	if err == nil {
		err = s.Put(t.Context(), blk)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// cbor returns an array of links.
func cbor(links ...cid.Cid) string {
	b := dagcbor.AppendHead(nil, dagcbor.Array, uint64(len(links)))
	for _, c := range links {
		b = append(dagcbor.AppendHead(b, dagcbor.Link, uint64(c.ByteLen())), c.Bytes()...)
	}
	return string(b)
}

// TestBlocks walks a DAG of all codecs, with a block that is linked twice and one
// that is inside its CID.
func TestBlocks(t *testing.T) {
	s := blockstore.NewMemory()
	one := putCodec(t, s, cid.Raw, mh.SHA2_256, "one")
	two := putCodec(t, s, cid.Raw, mh.SHA2_256, "two")
	inline := putCodec(t, s, cid.DagCBOR, mh.IDENTITY, cbor(two))
	json := putCodec(t, s, cid.DagJSON, mh.SHA2_256, fmt.Sprintf(`{"a":[{"/":%q},{"/":{"bytes":"AA"}}],"b":{"/":%q}}`, inline, one))
	pb := putCodec(t, s, cid.DagProtobuf, mh.SHA2_256, string(appendPB(nil, []link{{cid: one, name: "x"}}, dirData())))
	root := putCodec(t, s, cid.DagCBOR, mh.SHA2_256, cbor(pb, json, one))
	want := []cid.Cid{root, pb, one, json, two}
	for _, sizes := range []bool{false, true} {
		var got []cid.Cid
		for b, err := range Blocks(t.Context(), s, []cid.Cid{root, two, root}, BlocksOptions{Sizes: sizes}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, b.Cid)
			if b.Data == nil != (sizes && b.Cid.Type() == cid.Raw) || (b.Data != nil && int64(len(b.Data)) != b.Size) || b.Size == 0 {
				t.Errorf("%s: %d bytes, %d told", b.Cid, len(b.Data), b.Size)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	}
	if err := Complete(t.Context(), s, []cid.Cid{root}); err != nil {
		t.Error(err)
	}
	if err := s.DeleteBlock(t.Context(), two); err != nil {
		t.Fatal(err)
	}
	if err := Complete(t.Context(), s, []cid.Cid{root}); !ipld.IsNotFound(err) || !strings.Contains(err.Error(), two.String()) {
		t.Errorf("%v, want that %s is missing", err, two)
	}
}

// TestBlocksRefuses stops at what can't be followed.
func TestBlocksRefuses(t *testing.T) {
	s := blockstore.NewMemory()
	leaf := putCodec(t, s, cid.Raw, mh.SHA2_256, "leaf")
	for _, tc := range []struct {
		name  string
		codec uint64
		data  string
	}{
		{"codec", cid.GitRaw, "x"},
		{"cbor", cid.DagCBOR, "\x9f"},
		{"pb", cid.DagProtobuf, "\xff"},
		{"json", cid.DagJSON, `{"/":"x"}`},
		{"cut json", cid.DagJSON, `{"a":[1`},
		{"no json", cid.DagJSON, ``},
		{"deep json", cid.DagJSON, strings.Repeat("[", maxJSONDepth+1)},
		{"deep cbor", cid.DagCBOR, strings.Repeat("\x81", 1<<20)},
		{"cbor of so many items", cid.DagCBOR, "\x9b\x7f\xff\xff\xff\xff\xff\xff\xff"},
		{"cbor of so many bytes", cid.DagCBOR, "\x5b\x7f\xff\xff\xff\xff\xff\xff\xff"},
		{"weak hash below", cid.DagCBOR, cbor(cid.NewCidV1(cid.Raw, mh.Multihash("\x11\x14"+strings.Repeat("x", 20))))},
		{"empty hash below", cid.DagCBOR, cbor(cid.NewCidV1(cid.Raw, mh.Multihash("\x12\x00")))},
	} {
		root := putCodec(t, s, tc.codec, mh.SHA2_256, tc.data)
		if err := Complete(t.Context(), s, []cid.Cid{root, leaf}); !errors.Is(err, ErrMalformed) {
			if tc.name != "weak hash below" || !ipld.IsNotFound(err) { // sha1 is allowed, for git
				t.Errorf("%s: %v", tc.name, err)
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	node := putCodec(t, s, cid.DagCBOR, mh.SHA2_256, cbor(leaf))
	if err := Complete(ctx, s, []cid.Cid{node}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func FuzzJSONLinks(f *testing.F) {
	f.Add([]byte(`{"a":{"/":"bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"}}`))
	f.Add([]byte(`[{"/":{"bytes":"AA"}},{"/":["/",{}]},{"/":1}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		links, err := jsonLinks(b)
		if err == nil && len(links) > bytes.Count(b, []byte(`:`)) {
			t.Errorf("%d links", len(links))
		}
	})
}
