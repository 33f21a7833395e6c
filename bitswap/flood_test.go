package bitswap_test

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/boxo/bitswap/message"
	pb "github.com/ipfs/boxo/bitswap/message/pb"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	mh "github.com/multiformats/go-multihash"
	"google.golang.org/protobuf/proto"

	"github.com/hypha-node/hypha-node/bitswap"
)

const bitswapProtocol = "/ipfs/bitswap/1.2.0"

// attacker is a host without limits that is connected to a node.
type attacker struct {
	host.Host
	to peer.ID
}

// newAttacker connects one.
func newAttacker(t *testing.T, n *node) attacker {
	t.Helper()
	h := newStranger(t, libp2p.NoListenAddrs, libp2p.ResourceManager(&network.NullResourceManager{}))
	info, err := peer.AddrInfoFromString(n.addr(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Connect(t.Context(), *info); err != nil {
		t.Fatal(err)
	}
	return attacker{h, info.ID}
}

// write sends bytes as one message of bitswap, and leaves the stream open.
func (a attacker) write(t *testing.T, text []byte) network.Stream {
	t.Helper()
	st, err := a.NewStream(t.Context(), a.to, bitswapProtocol)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Write(append(binary.AppendUvarint(nil, uint64(len(text))), text...)); err != nil {
		t.Fatal(err)
	}
	return st
}

// want asks for blocks.
func (a attacker) want(t *testing.T, cs []cid.Cid) {
	t.Helper()
	m := message.New(false)
	for _, c := range cs {
		m.AddEntry(c, 1, pb.Message_Wantlist_Block, false)
	}
	text, err := proto.Marshal(m.ToProtoV1())
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, text)
}

// nobodys returns CIDs of blocks that do not exist.
func nobodys(t *testing.T, n int) []cid.Cid {
	t.Helper()
	cs := make([]cid.Cid, n)
	for i := range cs {
		digest := make([]byte, 32)
		if _, err := rand.Read(digest); err != nil {
			t.Fatal(err)
		}
		hash, err := mh.Encode(digest, mh.SHA2_256)
		if err != nil {
			t.Fatal(err)
		}
		cs[i] = cid.NewCidV1(cid.Raw, hash)
	}
	return cs
}

// served has a node that nobody knows get some blocks of n.
func served(t *testing.T, n *node) {
	t.Helper()
	honest, stop := start(t, nil)
	defer stop()
	connect(t, honest, n)
	get(t, honest, n.random(t, 4, 1000))
}

// TestEndlessWants has a peer want 40,000 blocks that do not exist: ten times what
// is kept of one. It is served all the same, so is everybody else, and nothing of it
// is left when it is gone (CVE-2023-25568; boxo issue 527).
func TestEndlessWants(t *testing.T) {
	n, _ := start(t, nil)
	a := newAttacker(t, n)
	for range 10 {
		a.want(t, nobodys(t, 4000))
	}
	id := a.ID().String()
	eventually(t, "the wants", func() bool { return n.Wants(id) > 0 })
	served(t, n)
	if got := n.Wants(id); got > bitswap.MaxQueuedWants {
		t.Errorf("%d wants of one peer are kept", got)
	}
	answered := make(chan struct{})
	once := sync.OnceFunc(func() { close(answered) })
	a.SetStreamHandler(bitswapProtocol, func(st network.Stream) { once(); st.Reset() })
	a.want(t, cids(n.random(t, 1, 1000)))
	select {
	case <-answered:
	case <-time.After(patience):
		t.Error("who wanted too much gets nothing any more")
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "that its wants are forgotten", func() bool { return n.Wants(id) == 0 })
}

// TestOddMessages sends what is no message of bitswap, or one without its parts
// (boxo issue 961), and others are served.
func TestOddMessages(t *testing.T) {
	n, _ := start(t, nil)
	a := newAttacker(t, n)
	for _, text := range []string{
		"", "\x0a\x00", "\x0a\x02\x0a\x00", "\x0a\x04\x0a\x02\x0a\x00", "\x1a\x00", "\x1a\x02\x0a\x00", "\x22\x00", "\x12\x00", "\x28\xff\xff\xff\xff\x0f",
		"\x1a\x06\x0a\x04\x01\x55\x12\x20", "\x1a\x09\x0a\x04\x01\x55\x12\xff\x12\x01x", "\xff\xff\xff", "GET / HTTP/1.1\r\n\r\n",
	} {
		a.write(t, []byte(text))
	}
	st := a.write(t, nil) // and one that promises more than may be sent
	if _, err := st.Write(binary.AppendUvarint(nil, 1<<40)); err != nil {
		t.Log(err) // it has been reset already
	}
	served(t, n)
}

// TestManyStreams has peers open 10,000 streams and say nothing on them. One of them
// does not get so many: when no more are taken, the next begins.
func TestManyStreams(t *testing.T) {
	n, _ := start(t, nil)
	a := newAttacker(t, n)
	peers, open := 1, 0
	for range 10_000 {
		ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
		st, err := a.Network().NewStream(network.WithNoDial(ctx, "who is dropped is gone"), a.to)
		cancel()
		if err != nil {
			a = newAttacker(t, n)
			peers++
			continue
		}
		if _, err := st.Write([]byte("\x13/multistream/1.0.0\n\x14" + bitswapProtocol + "\n")); err == nil {
			open++
		}
		if held := len(n.Host().Network().ConnsToPeer(a.ID())); held > 1 {
			t.Fatalf("%d connections of one peer", held)
		}
	}
	t.Logf("%d streams were opened by %d peers", open, peers)
	served(t, n)
	held := 0
	for _, c := range n.Host().Network().Conns() {
		held += len(c.GetStreams())
	}
	if held > bitswap.MaxStreams {
		t.Errorf("%d streams are held", held)
	}
}

// TestSlowReaders has three peers want 64 MiB each and read nothing of it.
func TestSlowReaders(t *testing.T) {
	n, _ := start(t, nil)
	blks := n.random(t, 64, 1<<20)
	var blocked sync.WaitGroup
	for range 3 {
		a := newAttacker(t, n)
		stuck := make(chan struct{})
		var once sync.Once
		a.SetStreamHandler(bitswapProtocol, func(st network.Stream) { once.Do(func() { close(stuck) }) }) // and never reads
		a.want(t, cids(blks))
		blocked.Go(func() {
			select {
			case <-stuck:
			case <-time.After(patience):
				t.Error("a slow reader gets nothing")
			}
		})
	}
	blocked.Wait()
	served(t, n)
	honest, _ := start(t, nil)
	connect(t, honest, n)
	get(t, honest, []blocks.Block{blks[0], blks[63]})
}
