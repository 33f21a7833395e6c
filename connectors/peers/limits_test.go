package peers

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/hypha-node/hypha-node/dag"
)

// TestSilence has peers that say nothing: one that was offered a file, and one
// that offers a file and sends none of it.
func TestSilence(t *testing.T) {
	a := newNode(t, func(c *Config) { c.Stall = 200 * time.Millisecond })
	h := newHost(t)
	introduce(a.host, h)
	quiet := make(chan struct{})
	silent := func(st network.Stream) {
		<-quiet
		st.Reset()
	}
	h.SetStreamHandler(protoOffer, silent)
	h.SetStreamHandler(protoBlocks, silent)
	for _, size := range []int{10, 3 << 20} {
		f := a.add(t, content(1, size), dag.ImportOptions{})
		if _, err := a.Send(bounded(t), h.ID().String(), offer("t", f), SendOptions{}); !errors.Is(err, ErrStalled) {
			t.Errorf("error is %v", err)
		}
	}
	f := fileOf(t, content(2, 3<<20))
	st := open(t, h, a, protoOffer)
	say(t, st, message{Kind: kindOffer, Offer: fair(f)}, "")
	if code := answerOf(t, st); code != CodeInternal {
		t.Errorf("answer is %q", code)
	}
	if _, dropped := a.inbox.state(); len(dropped) != 1 || !errors.Is(dropped[0], ErrStalled) {
		t.Errorf("dropped %v", dropped)
	}
	close(quiet)
}

// TestAlive has a receiver that takes its time.
func TestAlive(t *testing.T) {
	b := newNode(t, func(c *Config) { c.Stall = 100 * time.Millisecond })
	heard := make(chan struct{})
	b.inbox.keeping = func(ctx context.Context) {
		select {
		case <-heard:
		case <-ctx.Done():
			t.Error("what is being kept was called off")
		}
	}
	st := open(t, newHost(t), b, protoOffer)
	o := fair(fileOf(t, []byte("hello")))
	o.Inline = 5
	say(t, st, message{Kind: kindOffer, Offer: o}, "hello")
	for range 2 {
		msg, err := readFrame(st)
		if err != nil {
			t.Fatal(err)
		}
		if m, err := parseMessage(msg); err != nil || m.Kind != kindAlive {
			t.Errorf("message is %+v, %v", m, err)
		}
	}
	close(heard)
	if got := answerOf(t, st); got != kindDelivered {
		t.Errorf("answer is %q", got)
	}
}

func TestTooManyOffers(t *testing.T) {
	b := newNode(t, nil)
	b.offers = newCounter(4, 8)
	h := newHost(t)
	const extra = 3
	done := make(chan string, 4+extra)
	var streams []network.Stream
	for range 4 + extra {
		st := open(t, h, b, protoOffer)
		if _, err := st.Write([]byte{0}); err != nil {
			t.Fatal(err)
		}
		streams = append(streams, st)
		go func() { done <- answerOf(t, st) }()
	}
	for range extra {
		if code := <-done; code != CodeBusy {
			t.Errorf("answer is %q", code)
		}
	}
	for _, st := range streams {
		st.Reset()
	}
	for range 4 {
		<-done
	}
}

func TestParseID(t *testing.T) {
	n := newNode(t, nil)
	id := n.host.ID()
	for name, tc := range map[string]struct{ text, want string }{
		"base58": {id.String(), id.String()},
		"CIDv1":  {"", id.String()},
		"Qm":     {"QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"},
		"empty":  {" ", ""}, "word": {"alice", ""}, "file": {"bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e", ""},
		"long": {strings.Repeat("1", 200), ""}, "newline": {id.String() + "\n", ""}, "no key": {"1AV", ""},
	} {
		if name == "CIDv1" {
			tc.text = cid.NewCidV1(cid.Libp2pKey, []byte(id)).String()
		}
		got, err := n.Parse(tc.text)
		if got != tc.want || (err == nil) != (tc.want != "") || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		if tc.want == "" {
			if _, err := n.Send(t.Context(), tc.text, Offer{}, SendOptions{}); !errors.Is(err, ErrInvalid) {
				t.Errorf("send to %s: %v", name, err)
			}
		}
	}
}

func TestUnreachable(t *testing.T) {
	a, b := newNode(t, nil), newNode(t, nil)
	f := a.add(t, content(1, 10), dag.ImportOptions{})
	if _, err := a.Send(bounded(t), b.Self(), offer("t", f), SendOptions{}); !errors.Is(err, ErrUnreachable) {
		t.Errorf("nobody knows it: %v", err)
	}
	if err := a.Reach(bounded(t), b.Self()); !errors.Is(err, ErrUnreachable) {
		t.Errorf("nobody knows it: %v", err)
	}
}
