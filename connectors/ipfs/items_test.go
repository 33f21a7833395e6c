package ipfs_test

import (
	"context"
	"errors"
	"maps"
	"testing"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/ipfs"
	"github.com/ipfs/go-cid"
)

// items lists what a URI stands for.
func items(t *testing.T, c *ipfs.Connector, uri string, change func(*connectors.Ref)) ([]connectors.Item, error) {
	t.Helper()
	ref, err := connectors.ParseURI(uri)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&ref)
	}
	if !c.Supports(ref) {
		t.Fatalf("%s is not supported", ref)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var all []connectors.Item
	for it, err := range c.Items(ctx, ref, connectors.Access{}) {
		if err != nil {
			return all, err
		}
		all = append(all, it)
	}
	return all, nil
}

func TestItemsOfFile(t *testing.T) {
	a, b := newNode(t), newNode(t)
	f := a.add(t, content(t, 3<<20))
	connect(t, b, a)
	for _, conn := range []*ipfs.Connector{a.conn, b.conn} {
		all, err := items(t, conn, "ipfs://"+f.Root.String(), nil)
		if err != nil || len(all) != 1 {
			t.Fatalf("items are %+v, %v", all, err)
		}
		it := all[0]
		if it.Path != f.Root.String() || it.Size != f.Size || it.Root != f.Root || it.Source != "cid" || it.Open != nil {
			t.Errorf("item is %+v", it)
		}
		if here := conn == a.conn; here != (it.SHA256 != nil) || here && *it.SHA256 != f.SHA256 {
			t.Errorf("digest is %v", it.SHA256)
		}
	}
	all, err := items(t, b.conn, "ipfs://"+f.Root.String(), func(r *connectors.Ref) { r.Filename = "weights.bin" })
	if err != nil || len(all) != 1 || all[0].Path != "weights.bin" {
		t.Errorf("items are %+v, %v", all, err)
	}
}

func TestItemOfRawBlockCostsNothing(t *testing.T) {
	small := newNode(t).add(t, content(t, 10)).Root
	all, err := items(t, newNode(t).conn, "ipfs://"+small.String(), nil)
	if err != nil || len(all) != 1 || all[0].Size != -1 || all[0].Root != small {
		t.Errorf("items are %+v, %v", all, err)
	}
}

func TestItemsOfTree(t *testing.T) {
	a, b := newNode(t), newNode(t)
	root, want := a.addTree(t, 300, 100)
	connect(t, b, a)
	all, err := items(t, b.conn, "ipfs://"+root.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]int64)
	for _, it := range all {
		got[it.Path] = it.Size
	}
	if !maps.Equal(got, want) {
		t.Errorf("%d items, want %d", len(got), len(want))
	}
	for _, it := range all {
		if has, err := b.store.Has(t.Context(), it.Root); err != nil || has && it.Size > 0 && it.Root.Type() == cid.Raw {
			t.Errorf("the listing fetched %s (%v)", it.Path, err)
		}
	}
	all, err = items(t, b.conn, "ipfs://"+root.String()+"/part-3/file-10", nil)
	if err != nil || len(all) != 1 || all[0].Path != "file-10" || all[0].Size != -1 {
		t.Errorf("items are %+v, %v", all, err)
	}
}

func TestItemsThatAreNot(t *testing.T) {
	a, b := newNode(t), newNode(t)
	root, _ := a.addTree(t, 3, 10)
	connect(t, b, a)
	gone := newNode(t).add(t, content(t, 3<<20)).Root
	for name, uri := range map[string]string{
		"no such path":    "ipfs://" + root.String() + "/part-1/absent",
		"nobody has it":   "ipfs://" + gone.String(),
		"symlink":         "ipfs://" + root.String() + "/link",
		"file as a dir":   "ipfs://" + root.String() + "/large/x",
		"nobody has root": "ipfs://" + gone.String() + "/x",
	} {
		t.Run(name, func(t *testing.T) {
			if all, err := items(t, b.impatient(), uri, nil); err == nil {
				t.Errorf("items are %+v", all)
			}
		})
	}
	for c, err := range b.conn.Items(t.Context(), connectors.Ref{Type: connectors.TypeCIDs, Values: []string{"../x"}}, connectors.Access{}) {
		if !errors.Is(err, connectors.ErrInvalid) {
			t.Errorf("item is %+v, %v", c, err)
		}
	}
	if b.conn.Supports(connectors.Ref{Type: connectors.TypeURI, Value: "https://example.org"}) {
		t.Error("a URL is supported")
	}
}
