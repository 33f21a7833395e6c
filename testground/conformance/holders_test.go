package conformance

import (
	"bytes"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// contentRequests lists what was asked of the hub for bytes of a file.
func contentRequests(name string) (all []string) {
	for _, r := range shared.hub.Requests() {
		if r.Method == http.MethodGet && (strings.HasPrefix(r.Path, "/xet-bridge-us/") || strings.HasSuffix(r.Path, "/"+name)) {
			all = append(all, r.Method+" "+r.Path)
		}
	}
	return all
}

// TestN01FoundByDigest: a node that needs a file whose sha256 its source names
// gets it from a node that has it, to the last byte, by whatever name it was
// fetched there. The hub is asked for metadata only, and another URL not at all.
func TestN01FoundByDigest(t *testing.T) {
	dir := shortDir(t)
	a, b, c := start(t, filepath.Join(dir, "a"), nil), start(t, filepath.Join(dir, "b"), nil), start(t, filepath.Join(dir, "c"), nil)
	const name = "model.safetensors"
	sum, err := hubtest.Random(1, 3<<20+1).SHA256()
	ok(t, err)
	run(t, a, "fetch", "hf://org/model/"+name)
	connect(t, b, a)
	connect(t, c, b) // that has it by then

	shared.hub.ResetRequests()
	j := newJob(t, b)
	files := j.fetch(t, hfRef(name))
	if len(files) != 1 || files[0].Checksum != "sha256:"+sum || files[0].Metadata.From != "peer" {
		t.Fatalf("%+v", files)
	}
	if asked := contentRequests(name); len(asked) > 0 {
		t.Errorf("the hub was asked for %q", asked)
	}

	// Nobody listens there.
	files = newJob(t, c).fetch(t, map[string]any{"type": "URI", "value": "http://127.0.0.1:9/weights.bin", "checksum": "sha256:" + sum})
	if len(files) != 1 || files[0].Checksum != "sha256:"+sum || files[0].Metadata.From != "peer" {
		t.Errorf("%+v", files)
	}
}

// TestN02LiarIsLeft: a peer names the root of other content. The file comes from
// its origin, right, and the liar is not asked again.
func TestN02LiarIsLeft(t *testing.T) {
	dir := shortDir(t)
	a, b := start(t, filepath.Join(dir, "a"), nil), start(t, filepath.Join(dir, "b"), nil)
	truth, lie := random(t, 801, 2<<20+5), random(t, 802, 2<<20+5)
	lieURL, _ := shared.origin.put(t, "lie", lie)
	out := run(t, a, "fetch", "--json", lieURL)
	_, rest, _ := strings.Cut(out, `"cid":"`)
	text, _, _ := strings.Cut(rest, `"`)
	root, err := cid.Decode(text)
	ok(t, err)

	// The liar has the blocks of what it names from a, where b can get them too.
	liar, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"))
	ok(t, err)
	defer liar.Close()
	asked := make(chan struct{}, 16)
	liar.SetStreamHandler("/hypha/find/1", func(st network.Stream) {
		asked <- struct{}{}
		answer := append([]byte{1, 0, 0, 0, 0, 0, 0x20, 0, 5, byte(root.ByteLen())}, root.Bytes()...)
		if _, err := st.Write(answer); err != nil {
			t.Error(err)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	connect(t, b, a)
	address, err := b.Address(t.Context())
	ok(t, err)
	info, err := peer.AddrInfoFromP2pAddr(ma.StringCast(address))
	ok(t, err)
	ok(t, liar.Connect(t.Context(), *info))

	truthURL, f := shared.origin.put(t, "truth", truth)
	j := newJob(t, b)
	files := j.fetch(t, map[string]any{"type": "URI", "value": truthURL, "checksum": digest(truth)})
	if len(files) != 1 || files[0].Metadata.From != "origin" || f.bytes() < int64(len(truth)) || !bytes.Equal(j.read(t, files[0].Path), truth) {
		t.Errorf("%+v, %d bytes of the origin", files, f.bytes())
	}
	if len(asked) != 1 {
		t.Errorf("the liar was asked %d times", len(asked))
	}
	other, _ := shared.origin.put(t, "other", random(t, 803, 4096))
	j.fetch(t, map[string]any{"type": "URI", "value": other, "checksum": digest(random(t, 803, 4096))})
	if len(asked) != 1 {
		t.Errorf("the liar was asked again: %d times", len(asked))
	}
}
