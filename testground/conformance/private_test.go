package conformance

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/dag"
	"github.com/hypha-node/hypha-node/testground/rig"
)

// content is a file with all its blocks: leaves and inner nodes.
type content struct {
	bytes []byte
	root  cid.Cid
	cids  []cid.Cid // of all blocks, under every codec
}

// newContent makes a file of three leaves and a node.
func newContent(t *testing.T, seed uint64) content {
	t.Helper()
	c := content{bytes: random(t, seed, 2<<20+77)}
	s := blockstore.NewMemory()
	f, err := dag.Import(t.Context(), s, bytes.NewReader(c.bytes), dag.ImportOptions{})
	ok(t, err)
	c.root = f.Root
	for k, err := range s.Keys(t.Context()) {
		ok(t, err)
		c.cids = append(c.cids, everyForm(k)...)
	}
	if len(c.cids) != 4*3 {
		t.Fatalf("%d CIDs, want those of three leaves and a node", len(c.cids))
	}
	return c
}

// everyForm returns the CIDs under which a block can be asked for.
func everyForm(c cid.Cid) []cid.Cid {
	return []cid.Cid{cid.NewCidV1(cid.Raw, c.Hash()), cid.NewCidV1(cid.DagProtobuf, c.Hash()), cid.NewCidV1(cid.DagCBOR, c.Hash())}
}

// nowhere is the CID of bytes that nobody has.
func nowhere(t *testing.T, codec uint64) cid.Cid {
	t.Helper()
	sum := sha256.Sum256([]byte(newID()))
	hash, err := mh.Encode(sum[:], mh.SHA2_256)
	ok(t, err)
	return cid.NewCidV1(codec, hash)
}

// serves fails unless a node serves all of the CIDs to strangers, or none.
func serves(t *testing.T, n *rig.Node, what string, want bool, cids ...cid.Cid) {
	t.Helper()
	s, err := rig.NewStranger()
	ok(t, err)
	defer s.Close()
	address, err := n.Address(rig.Within(t))
	ok(t, err)
	has, err := s.Has(rig.Within(t), address, cids...)
	ok(t, err)
	for _, c := range cids {
		if has[c] != want {
			t.Errorf("%s: %s is served: %v, want %v", what, c, has[c], want)
		}
	}
}

// alone waits until a node is connected to nobody, who could be asked for what it
// does not have.
func alone(t *testing.T, n *rig.Node) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ctx := rig.Within(t); run(t, n, "peers", "--json") != ""; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the node is still connected")
		}
	}
}

// byCID asks for CIDs, or paths below them.
func byCID(values ...string) map[string]any { return map[string]any{"type": "cids", "values": values} }

// knows fails unless the job gets the file by its CID, out of the store.
func (j *job) knows(t *testing.T, c content) {
	t.Helper()
	files := j.fetch(t, map[string]any{"fetch": byCID(c.root.String()), "out_dir": newID()})
	if len(files) != 1 || files[0].Checksum != digest(c.bytes) || !files[0].Metadata.Cached {
		t.Errorf("%+v, want %s from the store", files, c.root)
	}
}

// ignorant fails unless naming each of the CIDs is answered word for word as
// naming one that is nowhere is: by fetch, below a path, and by prefetch.
func (j *job) ignorant(t *testing.T, cids ...cid.Cid) {
	t.Helper()
	for _, c := range cids {
		for _, below := range []string{"", "/weights.bin"} {
			if below != "" && c.Type() == cid.Raw {
				continue // no directory by its name already
			}
			none := nowhere(t, c.Type())
			got := j.refusedAs(t, c.String()+below)
			if want := j.refusedAs(t, none.String()+below); got != want {
				t.Errorf("%s%s is answered\n%s, one that is nowhere\n%s", c, below, got, want)
			}
		}
	}
}

// refusedAs returns the answers to a fetch and to a prefetch that must fail, with
// CIDs and the request's number left out.
func (j *job) refusedAs(t *testing.T, value string) string {
	t.Helper()
	a := j.post(t, "/resources/fetch", map[string]any{"fetch": byCID(value), "out_dir": "stolen"})
	if a.status < 400 {
		t.Errorf("%s: %d %s", value, a.status, a.body)
	}
	var began struct {
		ID string `json:"transfer_id"`
	}
	j.post(t, "/resources/prefetch", byCID(value)).into(t, http.StatusAccepted, &began)
	end := j.ended(t, began.ID)
	if _, err := os.Stat(filepath.Join(j.WorkDir, "stolen")); err == nil {
		t.Errorf("%s: there is a directory for it", value)
	}
	text := fmt.Sprintf("%d %s; %s", a.status, a.body, end)
	return regexp.MustCompile(`baf[a-z2-7]+…?|"request_id":"[0-9]+",`).ReplaceAllString(text, "…")
}

// ended waits for the end of a transfer and returns its state and error.
func (j *job) ended(t *testing.T, id string) string {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for ctx := rig.Within(t); ; {
		var is struct {
			State string `json:"state"`
			Error string `json:"error"`
		}
		j.call(t, http.MethodGet, "/transfers/"+id, nil).into(t, http.StatusOK, &is)
		switch is.State {
		case "done", "failed", "cancelled":
			return is.State + " " + is.Error
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("transfer %s is still %s", id, is.State)
		}
	}
}

// withCredential fetches a URL with a header that names a credential.
func (j *job) withCredential(t *testing.T, url string) {
	t.Helper()
	j.fetch(t, map[string]any{"type": "uri", "value": url, "headers": map[string]string{"Authorization": "Bearer secret"}})
}

// TestScopePrivateBlocks: what came with a credential, what a peer sent, and what a
// job put without announcing it is served to no stranger in any of its blocks, and
// can't be had by naming any of its CIDs by another job of the node. The job whose
// it is can name it, and the operator. Kill -9 and the loss of the index change
// nothing of that; and what comes publicly as well is everybody's.
func TestScopePrivateBlocks(t *testing.T) {
	repo := filepath.Join(shortDir(t), "r")
	n := start(t, repo, nil)
	owner, other := createJob(t, n), createJob(t, n)
	secret, sent, put, public := newContent(t, 301), newContent(t, 302), newContent(t, 303), newContent(t, 304)
	secretURL, _ := shared.origin.put(t, "secret.bin", secret.bytes)
	publicURL, _ := shared.origin.put(t, "public.bin", public.bytes)
	owner.withCredential(t, secretURL)
	owner.fetch(t, map[string]any{"type": "uri", "value": publicURL})
	owner.write(t, "out/weights.bin", put.bytes)
	owner.write(t, "out/small.txt", []byte("a small secret "+newID()))
	dir := owner.put(t, "out", false)
	small := mustCID(t, owner.fetch(t, map[string]any{"fetch": byCID(dir.String() + "/small.txt"), "out_dir": "small"})[0].CID)

	private := map[string][]cid.Cid{"fetched": secret.cids, "put": append(put.cids, append(everyForm(dir), everyForm(small)...)...)}
	named := []cid.Cid{secret.root, secret.cids[0], dir, put.root, small}
	known := []content{secret, put, public}
	check := func(t *testing.T, owner, other *job) {
		t.Helper()
		for what, cids := range private {
			serves(t, n, what, false, cids...)
		}
		serves(t, n, "public", true, public.cids...)
		alone(t, n)
		other.ignorant(t, named...)
		other.knows(t, public)
		for _, c := range known {
			run(t, n, "get", c.root.String(), "-o", filepath.Join(t.TempDir(), "f")) // the operator
			if owner != nil {
				owner.knows(t, c)
			}
		}
		if owner != nil {
			owner.fetch(t, map[string]any{"fetch": byCID(dir.String(), secret.cids[0].String()), "out_dir": newID()})
		}
	}
	t.Run("at once", func(t *testing.T) { check(t, owner, other) })

	sender := start(t, filepath.Join(shortDir(t), "r"), nil)
	connect(t, sender, n)
	from := createJob(t, sender, "--id", owner.ID)
	from.write(t, "weights.bin", sent.bytes)
	from.send(t, "weights.bin", peerID(t, n))
	owner.has(t, owner.one(t), sent.bytes)
	private["sent"], named, known = sent.cids, append(named, sent.root, sent.cids[0]), append(known, sent)
	for what, node := range map[string]*rig.Node{"at its sender": sender, "at its receiver": n} {
		serves(t, node, what, false, sent.cids...)
	}
	ok(t, sender.Stop())
	ok(t, n.Kill())
	n = start(t, repo, nil)
	owner, other = owner.again(t, n), other.again(t, n)
	t.Run("after kill -9", func(t *testing.T) { check(t, owner, other) })

	ok(t, n.Stop())
	ok(t, os.RemoveAll(filepath.Join(repo, "index")))
	n = start(t, repo, nil)
	other = createJob(t, n) // jobs are lost with the index
	t.Run("index lost", func(t *testing.T) { check(t, nil, other) })

	t.Run("public after all", func(t *testing.T) {
		other.fetch(t, map[string]any{"type": "uri", "value": secretURL})
		serves(t, n, "fetched without a credential", true, secret.cids...)
		file := filepath.Join(t.TempDir(), "f")
		ok(t, os.WriteFile(file, sent.bytes, 0o600))
		run(t, n, "add", file)
		serves(t, n, "added", true, sent.cids...)
		serves(t, n, "put", false, put.cids...)
		other.write(t, "mine.bin", put.bytes)
		other.put(t, "mine.bin", true)
		serves(t, n, "announced by another", true, put.cids...)
		serves(t, n, "the directory around it", false, dir, small)
		third := createJob(t, n)
		for _, c := range known {
			third.knows(t, c)
		}
		third.withCredential(t, publicURL) // what is public stays so
		serves(t, n, "public", true, public.cids...)
	})
}

// put puts a path and returns its CID.
func (j *job) put(t *testing.T, path string, announce bool) cid.Cid {
	t.Helper()
	var got struct {
		CID string `json:"cid"`
	}
	j.post(t, "/resources/put", map[string]any{"path": path, "announce": announce}).into(t, http.StatusOK, &got)
	return mustCID(t, got.CID)
}

// again returns the job after a restart of its node.
func (j *job) again(t *testing.T, n *rig.Node) *job {
	t.Helper()
	return &job{Job: j.Job, node: n, http: overSocket(t, j.Socket)}
}

// TestScopeOtherCredential: another job gets what was fetched with a credential
// after its own has passed: one request for metadata, and no byte of the file.
func TestScopeOtherCredential(t *testing.T) {
	n := start(t, filepath.Join(shortDir(t), "r"), nil)
	ref := map[string]any{"type": "huggingface", "repository": "org/gated", "filenames": []string{"secret.bin"}, "token": "hf_good"}
	first := createJob(t, n).fetch(t, ref)
	count := func() (meta, files int) {
		for _, r := range shared.hub.Requests() {
			if r.CDN || strings.Contains(r.Path, "/resolve") {
				files++
			} else {
				meta++
			}
		}
		return meta, files
	}
	ref["revision"] = shared.hub.Head("model/org/gated") // a branch costs one more, each time
	meta, files := count()
	second := createJob(t, n).fetch(t, ref)
	moreMeta, moreFiles := count()
	if len(second) != 1 || second[0].Checksum != first[0].Checksum || !second[0].Metadata.Cached {
		t.Errorf("%+v, want what is here", second)
	}
	if moreMeta-meta != 1 || moreFiles != files {
		t.Errorf("%d requests for metadata and %d for files, want 1 and 0", moreMeta-meta, moreFiles-files)
	}
	third := createJob(t, n)
	third.ignorant(t, mustCID(t, first[0].CID))
	ref["token"] = "hf_wrong"
	third.post(t, "/resources/fetch", ref).refused(t, 403, "gated")
}

func mustCID(t *testing.T, text string) cid.Cid {
	t.Helper()
	c, err := cid.Decode(text)
	ok(t, err)
	return c
}
