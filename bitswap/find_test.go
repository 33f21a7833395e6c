package bitswap_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/hypha-node/hypha-node/bitswap"
)

// holdings answers for a set of files.
type holdings map[[sha256.Size]byte]bitswap.Holding

func (h holdings) of(_ context.Context, sum [sha256.Size]byte) (bitswap.Holding, bool, error) {
	got, ok := h[sum]
	return got, ok, nil
}

// holders lists what a search finds within the tests' patience.
func holders(t *testing.T, n *node, sum [sha256.Size]byte) []bitswap.Holder {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return slices.Collect(n.Holders(ctx, sum))
}

// provideFile announces a file.
func provideFile(t *testing.T, n *node, sum [sha256.Size]byte) {
	t.Helper()
	key, err := bitswap.FileKey(sum)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Provide(t.Context(), key); err != nil {
		t.Fatal(err)
	}
}

// TestHoldersAmongConnected asks connected peers: one that has the file, one that
// does not, one that has it and does not announce it, one that answers nobody.
func TestHoldersAmongConnected(t *testing.T) {
	sum := sha256.Sum256([]byte("the file"))
	held := holdings{sum: {Root: raw(t, []byte("root")).Cid(), Size: 123}}
	asker, _ := start(t, nil)
	has, _ := start(t, func(c *bitswap.Config) { c.Holding = held.of })
	hasNot, _ := start(t, func(c *bitswap.Config) { c.Holding = holdings{}.of })
	quiet, _ := start(t, func(c *bitswap.Config) { c.Holding = held.of })
	mute, _ := start(t, nil)
	if got := holders(t, asker, sum); len(got) != 0 {
		t.Errorf("nobody to ask: %v", got)
	}
	for _, n := range []*node{has, hasNot, quiet, mute} {
		connect(t, asker, n)
	}
	provideFile(t, has, sum)
	provideFile(t, hasNot, sum)
	got := holders(t, asker, sum)
	want := bitswap.Holder{Peer: has.ID().PeerID, Holding: held[sum]}
	if len(got) != 1 || got[0] != want {
		t.Errorf("found %v, want %v", got, want)
	}
	if got := holders(t, asker, sha256.Sum256([]byte("another"))); len(got) != 0 {
		t.Errorf("found %v of what nobody has", got)
	}
	if err := asker.Shun(want.Peer, time.Hour); err != nil {
		t.Fatal(err)
	}
	if got := holders(t, asker, sum); len(got) != 0 {
		t.Errorf("found %v at a peer that is shunned", got)
	}
	if err := asker.Shun(want.Peer, -time.Hour); err != nil {
		t.Fatal(err)
	}
	if got := holders(t, asker, sum); len(got) != 1 {
		t.Errorf("found %v at a peer that is shunned no longer", got)
	}
	if err := asker.Shun("nonsense", time.Hour); err == nil {
		t.Error("shunned what is no peer")
	}
}

// TestHoldersByDHT finds a peer to which there is no connection.
func TestHoldersByDHT(t *testing.T) {
	sum := sha256.Sum256([]byte("the file"))
	held := holdings{sum: {Root: raw(t, []byte("root")).Cid(), Size: 123}}
	middle, _ := start(t, nil)
	boot := func(c *bitswap.Config) { c.Bootstrap = []string{middle.addr(t)} }
	has, _ := start(t, func(c *bitswap.Config) { boot(c); c.Holding = held.of })
	provideFile(t, has, sum)
	asker, _ := start(t, boot)
	eventually(t, "the asker finds the holder", func() bool {
		got := holders(t, asker, sum)
		return len(got) == 1 && got[0].Peer == has.ID().PeerID
	})
}

// TestHoldersOfManyAndOfNone: leaving the loop ends the search, and a closed
// exchange finds nobody.
func TestHoldersOfManyAndOfNone(t *testing.T) {
	sum := sha256.Sum256([]byte("the file"))
	held := holdings{sum: {Root: raw(t, []byte("root")).Cid(), Size: 123}}
	asker, stop := start(t, nil)
	for range 3 {
		n, _ := start(t, func(c *bitswap.Config) { c.Holding = held.of })
		connect(t, asker, n)
		provideFile(t, n, sum)
	}
	seen := 0
	for range asker.Holders(t.Context(), sum) {
		seen++
		break
	}
	if seen != 1 {
		t.Errorf("saw %d", seen)
	}
	eventually(t, "all are found", func() bool { return len(holders(t, asker, sum)) == 3 })
	stop()
	if got := holders(t, asker, sum); len(got) != 0 {
		t.Errorf("found %v after Close", got)
	}
}

// TestQuestionsThatNeverCome opens streams and asks nothing: others are answered
// and the node closes.
func TestQuestionsThatNeverCome(t *testing.T) {
	sum := sha256.Sum256([]byte("the file"))
	held := holdings{sum: {Root: raw(t, []byte("root")).Cid(), Size: 123}}
	var failing atomic.Bool
	has, _ := start(t, func(c *bitswap.Config) {
		c.Holding = func(ctx context.Context, sum [sha256.Size]byte) (bitswap.Holding, bool, error) {
			if failing.Load() {
				return bitswap.Holding{}, false, errors.New("the disk is broken")
			}
			return held.of(ctx, sum)
		}
	})
	provideFile(t, has, sum)
	idle, _ := start(t, nil)
	connect(t, idle, has)
	p, err := peer.Decode(has.ID().PeerID)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		st, err := idle.Host().NewStream(network.WithNoDial(t.Context(), ""), p, "/hypha/find/1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Write([]byte("half of a question")); err != nil {
			t.Fatal(err)
		}
	}
	asker, _ := start(t, nil)
	connect(t, asker, has)
	if got := holders(t, asker, sum); len(got) != 1 {
		t.Errorf("found %v", got)
	}
	failing.Store(true)
	if got := holders(t, asker, sum); len(got) != 0 {
		t.Errorf("found %v where the look-up fails", got)
	}
}

// TestAnswersThatAreNone asks peers that answer nonsense, nothing, or for ever.
func TestAnswersThatAreNone(t *testing.T) {
	sum := sha256.Sum256([]byte("the file"))
	asker, _ := start(t, nil)
	for _, answer := range [][]byte{nil, {2}, {1, 0, 0}, {1, 255, 0, 0, 0, 0, 0, 0, 0, 36}, {1, 0, 0, 0, 0, 0, 0, 0, 9, 4, 1, 2, 3, 4}, {1, 0, 0, 0, 0, 0, 0, 0, 9, 255}} {
		n, _ := start(t, nil)
		n.Host().SetStreamHandler("/hypha/find/1", func(st network.Stream) {
			_, _ = st.Write(answer)
			_ = st.Close()
		})
		connect(t, asker, n)
	}
	if got := holders(t, asker, sum); len(got) != 0 {
		t.Errorf("found %v", got)
	}
	held, _ := start(t, nil)
	reached := make(chan struct{})
	held.Host().SetStreamHandler("/hypha/find/1", func(st network.Stream) {
		close(reached)
		_, _ = st.Read(make([]byte, 64)) // until it is reset
		_, _ = st.Read(make([]byte, 64))
	})
	connect(t, asker, held)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { <-reached; cancel() }()
	if got := slices.Collect(asker.Holders(ctx, sum)); len(got) != 0 {
		t.Errorf("found %v", got)
	}
}
