package peers

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/dag"
)

// open opens a stream as a peer does that keeps to nothing.
func open(t *testing.T, from host.Host, to *node, p protocol.ID) network.Stream {
	t.Helper()
	introduce(from, to.host)
	st, err := from.NewStream(bounded(t), to.host.ID(), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Reset() })
	if err := st.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return st
}

// say sends a message that may be anything.
func say(t *testing.T, st network.Stream, message any, tail string) {
	t.Helper()
	b, err := json.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	sayBytes(t, st, b, tail)
}

func sayBytes(t *testing.T, st network.Stream, b []byte, tail string) {
	t.Helper()
	head := binary.BigEndian.AppendUint32(nil, uint32(len(b)))
	if _, err := st.Write(append(append(head, b...), tail...)); err != nil {
		t.Fatal(err)
	}
}

// answerOf returns the code of the last word, "" when the stream ends without one.
func answerOf(t *testing.T, st network.Stream) string {
	t.Helper()
	for {
		b, err := readFrame(st)
		if err != nil {
			return ""
		}
		m, err := parseMessage(b)
		if err != nil {
			t.Fatal(err)
		}
		switch m.Kind {
		case kindRefused:
			return m.Code
		case kindDelivered:
			return kindDelivered
		}
	}
}

// fair is an offer of a file that can be.
func fair(f blockstore.File) *wireOffer {
	return &wireOffer{
		V: version, Transfer: "t", Job: "job", Name: "n", CID: f.Root.String(), Size: f.Size,
		SHA256: hex.EncodeToString(f.SHA256[:]), Now: true,
	}
}

// fileOf is what importing content gives.
func fileOf(t *testing.T, b []byte) blockstore.File {
	t.Helper()
	f, err := dag.Import(t.Context(), blockstore.NewMemory(), bytes.NewReader(b), dag.ImportOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestBadOffers(t *testing.T) {
	f := fileOf(t, []byte("hello"))
	other := fileOf(t, content(1, 3<<20))
	for _, tc := range []struct {
		name, tail, want string
		change           func(o *wireOffer)
	}{
		{"fair", "hello", kindDelivered, func(o *wireOffer) { o.Inline = 5 }},
		{"other version", "", CodeInvalid, func(o *wireOffer) { o.V = 2 }},
		{"no transfer", "", CodeInvalid, func(o *wireOffer) { o.Transfer = "" }},
		{"transfer is a path", "", CodeInvalid, func(o *wireOffer) { o.Transfer = "../x" }},
		{"long transfer", "", CodeInvalid, func(o *wireOffer) { o.Transfer = strings.Repeat("x", 65) }},
		{"long job", "", CodeInvalid, func(o *wireOffer) { o.Job = strings.Repeat("x", 257) }},
		{"long name", "", CodeInvalid, func(o *wireOffer) { o.Name = strings.Repeat("x", 1025) }},
		{"negative number", "", CodeInvalid, func(o *wireOffer) { o.Seq = -1 }},
		{"negative size", "", CodeInvalid, func(o *wireOffer) { o.Size = -1 }},
		{"giant size", "", CodeInvalid, func(o *wireOffer) { o.Size = 1<<62 + 1 }},
		{"no CID", "", CodeInvalid, func(o *wireOffer) { o.CID = "" }},
		{"garbage CID", "", CodeInvalid, func(o *wireOffer) { o.CID = "bafyxyz" }},
		{"CID of something else", "", CodeInvalid, func(o *wireOffer) { o.CID = cid.NewCidV1(cid.DagJSON, f.Root.Hash()).String() }},
		{"short sha256", "", CodeInvalid, func(o *wireOffer) { o.SHA256 = "00" }},
		{"odd sha256", "", CodeInvalid, func(o *wireOffer) { o.SHA256 = "0" }},
		{"short MAC", "", CodeInvalid, func(o *wireOffer) { o.MAC = "00" }},
		{"other is no peer", "", CodeInvalid, func(o *wireOffer) { o.Others = []wireOther{{ID: "x"}} }},
		{"too many others", "", CodeInvalid, func(o *wireOffer) { o.Others = make([]wireOther, maxOthers+1) }},
		{"inline of another size", "hell", CodeInvalid, func(o *wireOffer) { o.Inline = 4 }},
		{"negative inline", "", CodeInvalid, func(o *wireOffer) { o.Inline = -5 }},
		{"inline of a tree", "", CodeInvalid, func(o *wireOffer) { o.CID, o.Inline = other.Root.String(), 5 }},
		{"inline too large", "", CodeInvalid, func(o *wireOffer) { o.Size, o.Inline = maxInline+1, maxInline+1 }},
		{"inline of other content", "jello", CodeMismatch, func(o *wireOffer) { o.Inline = 5 }},
		{"another sha256", "hello", CodeMismatch, func(o *wireOffer) { o.Inline, o.SHA256 = 5, strings.Repeat("00", 32) }},
		{"another size", "hello!", CodeMismatch, func(o *wireOffer) { o.Size, o.Inline = 6, 6 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newNode(t, nil)
			st := open(t, newHost(t), b, protoOffer)
			o := fair(f)
			tc.change(o)
			say(t, st, message{Kind: kindOffer, Offer: o}, tc.tail)
			if got := answerOf(t, st); got != tc.want {
				t.Errorf("answer is %q, want %q", got, tc.want)
			}
			kept, dropped := b.inbox.state()
			if tc.want == kindDelivered {
				return
			}
			b.empty(t)
			if len(kept) != 0 || (tc.want == CodeMismatch) != (len(dropped) == 1 && refusal(dropped[0]) == CodeMismatch) {
				t.Errorf("kept %v, dropped %v", kept, dropped)
			}
		})
	}
}

func TestGarbageInsteadOfOffers(t *testing.T) {
	b := newNode(t, func(c *Config) { c.Stall = 200 * time.Millisecond })
	h := newHost(t)
	for name, raw := range map[string]string{
		"nothing":      "",
		"text":         "GET / HTTP/1.1\r\n\r\n",
		"giant length": "\xff\xff\xff\xff",
		"cut off":      "\x00\x00\x00\x10{",
		"empty":        "\x00\x00\x00\x00",
		"not JSON":     "\x00\x00\x00\x03abc",
		"null":         "\x00\x00\x00\x04null",
		"no offer":     "\x00\x00\x00\x10" + `{"kind":"offer"}`,
		"commit first": "\x00\x00\x00\x11" + `{"kind":"commit"}`,
	} {
		for _, p := range []protocol.ID{protoOffer, protoBlocks} {
			t.Run(name+string(p), func(t *testing.T) {
				st := open(t, h, b, p)
				if _, err := st.Write([]byte(raw)); err != nil {
					t.Fatal(err)
				}
				all, err := io.ReadAll(st) // it ends: that is the test
				if err == nil && p == protoOffer && !strings.Contains(string(all), CodeInvalid) || p == protoBlocks && len(all) > 0 {
					t.Errorf("answer is %q, %v", all, err)
				}
			})
		}
	}
	if kept, dropped := b.inbox.state(); len(kept)+len(dropped)+b.inbox.seen() != 0 {
		t.Error("the inbox heard of it")
	}
}

// rogue offers a file with a lie in the offer, and serves its blocks.
func rogue(t *testing.T, a, b *node, f blockstore.File, change func(o *wireOffer)) (code string) {
	t.Helper()
	o := fair(f)
	change(o)
	root, err := cid.Decode(o.CID)
	if err != nil {
		t.Fatal(err)
	}
	defer a.shares.addUpload(&upload{root: root, to: b.host.ID(), transfer: o.Transfer})()
	st := open(t, a.host, b, protoOffer)
	say(t, st, message{Kind: kindOffer, Offer: o}, "")
	return answerOf(t, st)
}

func lied(err error) bool {
	r, ok := errors.AsType[*Refusal](err)
	return ok && r.Lied
}

func TestLiars(t *testing.T) {
	data := content(5, 3<<20)
	for _, p := range []dag.Profile{dag.V1_2025(), dag.V0_2015()} {
		for name, change := range map[string]func(o *wireOffer){
			"sha256": func(o *wireOffer) { o.SHA256 = strings.Repeat("ab", 32) },
			"larger": func(o *wireOffer) { o.Size++ },
			"small":  func(o *wireOffer) { o.Size = 1 },
			"zero":   func(o *wireOffer) { o.Size = 0 },
		} {
			t.Run(name+p.String(), func(t *testing.T) {
				a, b := pair(t)
				f := a.add(t, data, dag.ImportOptions{Profile: p})
				if code := rogue(t, a, b, f, change); code != CodeMismatch {
					t.Errorf("answer is %q", code)
				}
				kept, dropped := b.inbox.state()
				if len(kept) != 0 || len(dropped) != 1 || refusal(dropped[0]) != CodeMismatch || !lied(dropped[0]) {
					t.Errorf("kept %v, dropped %v", kept, dropped)
				}
				if _, err := b.store.File(t.Context(), f.Root); err == nil {
					t.Error("the file is recorded")
				}
				if p == dag.V1_2025() {
					b.empty(t)
				}
			})
		}
	}
}

// TestNotAFile offers a directory, and blocks that the sender does not have.
func TestNotAFile(t *testing.T) {
	a, b := pair(t)
	f := a.add(t, content(5, 3<<20), dag.ImportOptions{})
	dir, err := cid.Decode("bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354") // the empty directory
	if err != nil {
		t.Fatal(err)
	}
	if code := rogue(t, a, b, f, func(o *wireOffer) { o.CID = dir.String() }); code != CodeMismatch {
		t.Errorf("a directory that nobody has: %q", code)
	}
	blk, err := emptyDir()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.store.Put(t.Context(), blk); err != nil {
		t.Fatal(err)
	}
	if code := rogue(t, a, b, f, func(o *wireOffer) { o.CID = blk.Cid().String() }); code != CodeMismatch {
		t.Errorf("a directory: %q", code)
	}
	links := leavesOf(t, a, f)
	if err := a.store.DeleteBlock(t.Context(), links[1]); err != nil {
		t.Fatal(err)
	}
	if code := rogue(t, a, b, f, func(*wireOffer) {}); code != CodeMismatch {
		t.Errorf("a leaf that the sender lacks: %q", code)
	}
	if _, dropped := b.inbox.state(); lied(dropped[len(dropped)-1]) {
		t.Error("what the sender has lost is taken for a lie")
	}
	b.empty(t)
}

// leavesOf returns the leaves of a file of two levels.
func leavesOf(t *testing.T, n *node, f blockstore.File) []cid.Cid {
	t.Helper()
	blk, err := n.store.Get(t.Context(), f.Root)
	if err != nil {
		t.Fatal(err)
	}
	links, err := dag.Links(f.Root, blk.RawData())
	if err != nil {
		t.Fatal(err)
	}
	return links
}

// wantsOf asks for blocks and returns what comes of each.
func wantsOf(t *testing.T, st network.Stream, root cid.Cid, cs ...cid.Cid) ([][]byte, error) {
	t.Helper()
	say(t, st, hello{V: version, Root: root.String(), Transfer: "t"}, "")
	var b []byte
	for _, c := range cs {
		b = append(b, c.Bytes()...)
	}
	sayBytes(t, st, b, "")
	got := make([][]byte, len(cs))
	for range cs {
		n, _, data, err := readAnswer(st)
		if err != nil {
			return nil, err
		}
		got[n] = data
	}
	return got, nil
}

func TestStrangersGetNothing(t *testing.T) {
	a := newNode(t, func(c *Config) { c.Patience = 40 * time.Millisecond })
	b := newNode(t, nil)
	introduce(a.host, b.host)
	f := a.add(t, content(5, 3<<20), dag.ImportOptions{})
	secret := a.add(t, []byte("of another job"), dag.ImportOptions{})
	leaves := leavesOf(t, a, f)
	st := open(t, newHost(t), a, protoBlocks)
	if got, err := wantsOf(t, st, f.Root, leaves...); err == nil {
		t.Errorf("without a transfer: %d blocks", len(got))
	}
	ctx, cancel := context.WithCancel(bounded(t))
	defer cancel()
	during := make(chan struct{})
	sent := make(chan error, 1)
	go func() {
		_, err := a.Send(ctx, b.Self(), offer("t", f), SendOptions{Turn: func(ctx context.Context) error {
			close(during)
			<-ctx.Done()
			return ctx.Err()
		}})
		sent <- err
	}()
	<-during
	b.inbox.until(t, "offer", func([]string, []error) bool { return b.inbox.seen() > 0 })
	st = open(t, newHost(t), a, protoBlocks)
	if got, err := wantsOf(t, st, f.Root, leaves...); err == nil {
		t.Errorf("a stranger during a transfer: %d blocks", len(got))
	}
	st = open(t, b.host, a, protoBlocks)
	got, err := wantsOf(t, st, f.Root, leaves[1], secret.Root, f.Root, leaves[0])
	if err != nil || len(got[0]) != 1<<20 || got[1] != nil || len(got[2]) == 0 || len(got[3]) != 1<<20 {
		t.Errorf("a receiver: %d answers, %v", len(got), err)
	}
	cancel()
	if err := <-sent; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if b, err := io.ReadAll(st); err == nil && len(b) > 0 {
		t.Errorf("after the transfer: %d bytes", len(b))
	}
}

// TestOthersGetWhatCame has a receiver whose store has what another one, named by
// the sender, must not have.
func TestOthersGetWhatCame(t *testing.T) {
	a, rest, others := crowd(t, 2, func(c *Config) { c.Patience = 40 * time.Millisecond })
	data := content(5, 6<<20)
	f := a.add(t, data, dag.ImportOptions{})
	b := rest[0]
	leaves := leavesOf(t, a, f)
	blk, err := a.store.Get(t.Context(), leaves[2])
	if err != nil {
		t.Fatal(err)
	}
	if err := b.store.Put(t.Context(), blk); err != nil {
		t.Fatal(err)
	}
	if _, errs := sendAll(t, a, others[:1], others, f); errs[0] != nil {
		t.Fatal(errs[0])
	}
	st := open(t, rest[1].host, b, protoBlocks)
	got, err := wantsOf(t, st, f.Root, leaves[0], leaves[2])
	if err != nil || len(got[0]) != 1<<20 || got[1] != nil {
		t.Errorf("answers %d and %d bytes, %v", len(got[0]), len(got[1]), err)
	}
	st = open(t, newHost(t), b, protoBlocks)
	if _, err := wantsOf(t, st, f.Root, leaves[0]); err == nil {
		t.Error("a stranger got a block")
	}
}
