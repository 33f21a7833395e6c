package control

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// hello is "hello world" and helloCID its CID in the default profile.
const (
	hello    = "hello world"
	helloCID = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"
	nobody   = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy" // CID that nobody has
)

func sum(text string) string {
	s := sha256.Sum256([]byte(text))
	return hex.EncodeToString(s[:])
}

func TestIdentity(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		id, err := r.ID(t.Context())
		must(t, err)
		want := Identity{PeerID: "12D3KooWTest", Addresses: []string{}, AgentVersion: "hypha-node/test", Version: "test", Repo: r.repo}
		if diff := cmp.Diff(want, id); diff != "" {
			t.Error(diff)
		}
		_, err = r.Peers(t.Context())
		wantError(t, err, CodeOffline, "")
		_, err = r.Connect(t.Context(), ConnectRequest{Address: "x"})
		wantError(t, err, CodeOffline, "")

		n := &network{}
		r.server.Network = n
		id, err = r.ID(t.Context())
		if err != nil || !id.Online || id.PeerID != "12D3KooWOther" || len(id.Addresses) != 1 || id.AgentVersion != "agent/1" {
			t.Errorf("%+v, %v", id, err)
		}
		peers, err := r.Peers(t.Context())
		if err != nil || len(peers) != 1 || peers[0].LatencyMS != 3 || peers[0].Direction != "in" {
			t.Errorf("%+v, %v", peers, err)
		}
		const addr = "/ip4/127.0.0.1/tcp/4101/p2p/12D3KooWELvVG8gj5bSJMwS8sXgrpCwmSFH5pDY8dbhMrRr2ae7g"
		answer, err := r.Connect(t.Context(), ConnectRequest{Address: addr})
		if err != nil || answer.PeerID != "12D3KooWPeer" || n.dialled != addr {
			t.Errorf("%+v, %v, dialled %q", answer, err, n.dialled)
		}
		n.refuses = true
		_, err = r.Connect(t.Context(), ConnectRequest{Address: addr})
		wantError(t, err, CodeUpstream, "connection refused")
		for _, bad := range []string{"", "127.0.0.1:4101", "/ip4/127.0.0.1/tcp/4101", "/ip4/x", "/p2p/x"} {
			_, err = r.Connect(t.Context(), ConnectRequest{Address: bad})
			wantError(t, err, CodeInvalid, "")
		}
	})
}

func TestAddFile(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		n := &network{}
		r.server.Network = n
		path := r.write(t, "hello.txt", hello)
		link := filepath.Join(r.dir, "link")
		must(t, os.Symlink("hello.txt", link))
		got, err := items(r.Add(t.Context(), AddRequest{Paths: []string{path, link}}))
		must(t, err)
		want := []Added{
			{Path: "hello.txt", CID: helloCID, Size: 11, SHA256: sum(hello), Type: "file", Root: true},
			{Path: "link", CID: helloCID, Size: 11, SHA256: sum(hello), Type: "file", Root: true},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		pins, err := items(r.Pins(t.Context()))
		if err != nil || len(pins) != 1 || pins[0].CID != helloCID || pins[0].Created.IsZero() {
			t.Errorf("%+v, %v", pins, err)
		}
		if len(n.provided) != 2 || n.provided[0].String() != helloCID || n.notified != 2 {
			t.Errorf("announced %v, notified %d times", n.provided, n.notified)
		}
	})
}

func TestAddNothing(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		path := r.write(t, "hello.txt", hello)
		for name, req := range map[string]AddRequest{
			"no pin":    {Paths: []string{path}, NoPin: true},
			"hash only": {Paths: []string{path}, HashOnly: true},
		} {
			got, err := items(r.Add(t.Context(), req))
			if err != nil || len(got) != 1 || got[0].CID != helloCID {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		}
		if pins, err := items(r.Pins(t.Context())); err != nil || len(pins) != 0 {
			t.Errorf("%+v, %v", pins, err)
		}
	})
}

func TestAddRefused(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		for name, tc := range map[string]struct {
			req  AddRequest
			code string
		}{
			"no paths":        {AddRequest{}, CodeInvalid},
			"relative":        {AddRequest{Paths: []string{"x"}}, CodeInvalid},
			"absent":          {AddRequest{Paths: []string{filepath.Join(r.dir, "absent")}}, CodeNotFound},
			"the whole disk":  {AddRequest{Paths: []string{"/"}}, CodeInvalid},
			"unknown profile": {AddRequest{Paths: []string{r.dir}, Profile: "v3"}, CodeInvalid},
			"unknown chunker": {AddRequest{Paths: []string{r.dir}, Chunker: "rabin"}, CodeInvalid},
		} {
			t.Run(name, func(t *testing.T) {
				_, err := items(r.Add(t.Context(), tc.req))
				wantError(t, err, tc.code, "")
			})
		}
	})
}

// tree adds a small directory and returns its root.
// TestCatBroken loses a leaf: what comes before it is right, the rest is an
// error that says why, and a client that knows no trailers sees a short body.
func TestAddContent(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		got, err := r.AddContent(t.Context(), AddRequest{Name: "stdin"}, strings.NewReader(hello))
		want := Added{Path: "stdin", CID: helloCID, Size: 11, SHA256: sum(hello), Type: "file", Root: true}
		if err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
		// A refusal reaches a client that goes on sending for ever.
		_, err = r.AddContent(t.Context(), AddRequest{Profile: "v3"}, endless{})
		wantError(t, err, CodeInvalid, "v3")
		// A source that fails stores nothing that looks whole.
		broken := errors.New("disk on fire")
		if _, err = r.AddContent(t.Context(), AddRequest{}, io.MultiReader(strings.NewReader("half"), failing{broken})); err == nil {
			t.Error("content whose source failed was accepted")
		}
		if pins, err := items(r.Pins(t.Context())); err != nil || len(pins) != 1 {
			t.Errorf("%+v, %v", pins, err)
		}
	})
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

type failing struct{ error }

func (f failing) Read([]byte) (int, error) { return 0, f.error }

func TestBlocks(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		s, err := r.BlockPut(t.Context(), "", strings.NewReader(hello))
		if err != nil || s != (BlockStat{CID: helloCID, Size: 11}) {
			t.Errorf("%+v, %v", s, err)
		}
		var b bytes.Buffer
		if err := r.BlockGet(t.Context(), helloCID, &b); err != nil || b.String() != hello {
			t.Errorf("%q, %v", &b, err)
		}
		if s, err := r.BlockStat(t.Context(), helloCID); err != nil || s.Size != 11 {
			t.Errorf("%+v, %v", s, err)
		}
		must(t, r.BlockRemove(t.Context(), helloCID))
		wantError(t, r.BlockRemove(t.Context(), helloCID), CodeNotFound, helloCID)
		wantError(t, r.BlockGet(t.Context(), helloCID, io.Discard), CodeNotFound, helloCID)
		_, err = r.BlockStat(t.Context(), helloCID)
		wantError(t, err, CodeNotFound, helloCID)
		wantError(t, r.BlockGet(t.Context(), "x/../y", io.Discard), CodeInvalid, "")
		_, err = r.BlockPut(t.Context(), "raw", endless{})
		wantError(t, err, CodeTooLarge, "")
		_, err = r.BlockPut(t.Context(), "cbor", strings.NewReader(hello))
		wantError(t, err, CodeInvalid, "cbor")
		_, err = r.BlockPut(t.Context(), "dag-pb", strings.NewReader(hello))
		wantError(t, err, CodeMalformed, "")
	})
}

func TestPins(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		root := r.tree(t)
		if p, err := r.Pin(t.Context(), PinRequest{Path: root + "/sub", Name: "mine"}); err != nil || p.Name != "mine" || p.CID == root {
			t.Errorf("%+v, %v", p, err)
		}
		_, err := r.Pin(t.Context(), PinRequest{Path: nobody})
		wantError(t, err, CodeNotFound, nobody)
		_, err = r.Unpin(t.Context(), PinRequest{Path: root, Name: "other"})
		wantError(t, err, CodeNotFound, "")
		_, err = r.Unpin(t.Context(), PinRequest{Path: root})
		must(t, err)
		c, err := r.Collect(t.Context())
		if err != nil || c.Blocks == 0 {
			t.Errorf("%+v, %v", c, err)
		}
		_, err = r.Cat(t.Context(), CatRequest{Path: root + "/a.txt", Length: -1}, io.Discard)
		wantError(t, err, CodeNotFound, "")
		if st, err := r.Usage(t.Context()); err != nil || st.Pins != 1 || st.Blocks == 0 || st.Repo != r.repo {
			t.Errorf("%+v, %v", st, err)
		}
	})
}

func TestVerify(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		r.tree(t)
		if found, err := items(r.Verify(t.Context(), VerifyRequest{})); err != nil || len(found) != 0 {
			t.Errorf("%+v, %v", found, err)
		}
	})
}

func TestJobs(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		j, err := r.JobCreate(t.Context(), JobRequest{ID: "mine"})
		if err != nil || j.ID != "mine" || j.Socket == "" || j.WorkDir == "" {
			t.Errorf("%+v, %v", j, err)
		}
		_, err = r.JobCreate(t.Context(), JobRequest{ID: "mine"})
		wantError(t, err, CodeConflict, "")
		_, err = r.JobCreate(t.Context(), JobRequest{ID: "../x"})
		wantError(t, err, CodeInvalid, "")
		list, err := items(r.Jobs(t.Context()))
		if err != nil || len(list) != 1 || list[0].ID != "mine" {
			t.Errorf("%+v, %v", list, err)
		}
		shown, err := r.JobShow(t.Context(), "mine")
		if err != nil || !cmp.Equal(shown, j) {
			t.Errorf("%+v, %v; want %+v", shown, err, j)
		}
		must(t, r.JobRemove(t.Context(), "mine"))
		wantError(t, r.JobRemove(t.Context(), "mine"), CodeNotFound, "mine")
		_, err = r.JobShow(t.Context(), "mine")
		wantError(t, err, CodeNotFound, "")
	})
}

// refs returns URIs as references.
// TestCollectMeanwhile collects garbage in the middle of an add: what is not
// pinned yet stays.
func TestCollectMeanwhile(t *testing.T) {
	both(t, func(t *testing.T, r *rig) {
		big := strings.Repeat("0123456789", 1<<20/2)
		collected := false
		content := io.MultiReader(strings.NewReader(big[:4<<20]), readerFunc(func([]byte) (int, error) {
			if !collected {
				collected = true
				if _, err := r.Collect(t.Context()); err != nil {
					t.Error(err)
				}
			}
			return 0, io.EOF
		}), strings.NewReader(big[4<<20:]))
		got, err := r.AddContent(t.Context(), AddRequest{}, content)
		must(t, err)
		var b bytes.Buffer
		if _, err := r.Cat(t.Context(), CatRequest{Path: got.CID, Length: -1}, &b); err != nil || b.String() != big || !collected {
			t.Errorf("%d bytes, %v, collected: %v", b.Len(), err, collected)
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }
