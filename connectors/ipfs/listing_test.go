package ipfs

import (
	"bytes"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
)

// directory is a dag-pb node with two named links and one without a name.
func directory(t testing.TB) []byte {
	t.Helper()
	n := merkledag.NodeWithData([]byte{8, 1})
	for _, l := range []*ipld.Link{
		{Name: "a", Size: 7, Cid: merkledag.NewRawNode([]byte("content")).Cid()},
		{Name: "b", Size: 1 << 40, Cid: merkledag.NodeWithData([]byte{8, 1}).Cid()},
		{Name: "", Size: 9, Cid: merkledag.NewRawNode([]byte("nameless")).Cid()},
	} {
		if err := n.AddRawLink(l.Name, l); err != nil {
			t.Fatal(err)
		}
	}
	return n.RawData()
}

func TestNamedLinks(t *testing.T) {
	links := namedLinks(directory(t))
	if len(links) != 2 || links[0].size != 7 || links[0].cid.Type() != cid.Raw || links[1].size != 1<<40 || links[1].cid.Type() != cid.DagProtobuf {
		t.Errorf("links are %+v", links)
	}
	for name, data := range map[string][]byte{
		"nothing":       nil,
		"noise":         {0xff, 0xff, 0xff},
		"cut":           directory(t)[:20],
		"length lies":   {fieldLinks<<3 | 2, 0xff, 0xff, 0xff, 0xff, 0x0f},
		"wire type 5":   {fieldLinks<<3 | 5, 1, 2, 3, 4},
		"empty link":    {fieldLinks<<3 | 2, 0},
		"CID of noise":  {fieldLinks<<3 | 2, 4, fieldHash<<3 | 2, 2, 0xff, 0xff},
		"link is a cut": {fieldLinks<<3 | 2, 2, fieldHash<<3 | 2, 9},
	} {
		if links := namedLinks(data); len(links) != 0 {
			t.Errorf("%s: links are %+v", name, links)
		}
	}
}

func TestClaimBeyondABlockIsNotBelieved(t *testing.T) {
	store := blockstore.NewMemory()
	defer store.Close()
	n := merkledag.NodeWithData([]byte{8, 1})
	leaf := merkledag.NewRawNode(bytes.Repeat([]byte("x"), 100))
	if err := n.AddRawLink("huge", &ipld.Link{Name: "huge", Size: maxClaim + 1, Cid: leaf.Cid()}); err != nil {
		t.Fatal(err)
	}
	l := newListing(New(store, nil).getter(t.Context(), store)).in(cid.Undef, store, connectors.Access{})
	l.look(nil, n.RawData())
	if size, err := l.GetSize(t.Context(), leaf.Cid()); err == nil {
		t.Errorf("size is %d", size)
	}
	if err := store.Put(t.Context(), leaf); err != nil {
		t.Fatal(err)
	}
	if size, err := l.GetSize(t.Context(), leaf.Cid()); err != nil || size != 100 {
		t.Errorf("size is %d, %v", size, err)
	}
}

func FuzzNamedLinks(f *testing.F) {
	f.Add(directory(f))
	f.Add([]byte("\x12*\n$\x01U\x12 \x17\xd7/\xdf\x18hFJ\xdeO\x11\xf7\x94\xec\xd7;e]\xb1\xe8\xee\xd3\"\xd2\xf6kܺ[\xcf\xda\xd5\x12\x00\x18\t\x12+\n$\x01U\x12\x16\xedp\x02\xb49鬄_\"5}\x82+\xac\x14Ds\x0f\xbd\xb6\x01m>\xc9C\"\x97\xb9\xec\x9fs\x12\x01a\x18\a\x12.\n\"\x12 Y\x94\x849\x06_)a\x9e\xf4\x12\x80\xdc\xdc\xdc\xdc\xdc\xdcm\x99Ŗke\xe0\x11\x129\xf0\x98\xbb\xef\x12\x01b\x18\x80\x80\x80\x80\x80 "))
	f.Add([]byte{fieldLinks<<3 | 2, 4, fieldHash<<3 | 2, 2, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, l := range namedLinks(data) {
			if !l.cid.Defined() {
				t.Error("a link without a CID")
			}
		}
		n, err := merkledag.DecodeProtobuf(data)
		if err != nil {
			return
		}
		named := 0
		for _, l := range n.Links() {
			if l.Name != "" {
				named++
			}
		}
		// boxo also takes a CID with bytes behind it, which it does not write.
		canonical, err := n.EncodeProtobuf(true)
		if got := len(namedLinks(data)); got > named || got < named && err == nil && bytes.Equal(canonical, data) {
			t.Errorf("%d named links, boxo reads %d", got, named)
		}
	})
}
