package bitswap_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/bitswap"
)

// swarmKey makes a key.
func swarmKey(t *testing.T) bitswap.SwarmKey {
	t.Helper()
	key, err := bitswap.NewSwarmKey(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// tryConnect dials b from a and returns how that went.
func tryConnect(t *testing.T, a, b *node) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := a.Connect(ctx, b.addr(t))
	return err
}

// TestPrivateNetwork: nodes with one key meet, those without it or with another
// don't, whoever dials.
func TestPrivateNetwork(t *testing.T) {
	key := swarmKey(t)
	with := func(k bitswap.SwarmKey) func(*bitswap.Config) {
		return func(c *bitswap.Config) { c.SwarmKey, c.Listen = k, []string{"/ip4/127.0.0.1/tcp/0"} }
	}
	a, _ := start(t, with(key))
	b, _ := start(t, with(key))
	open, _ := start(t, nil)
	other, _ := start(t, with(swarmKey(t)))
	connect(t, a, b)
	for _, stranger := range []*node{open, other} {
		if err := tryConnect(t, a, stranger); err == nil {
			t.Error("reached a node outside")
		}
		if err := tryConnect(t, stranger, a); err == nil {
			t.Error("was reached by a node outside")
		}
	}
	if peers := a.Peers(); len(peers) != 1 || peers[0].ID != b.ID().PeerID || peers[0].Transport != "tcp" {
		t.Errorf("peers %+v", peers)
	}
	blk := a.random(t, 1, 100)[0]
	got, err := b.Session(t.Context()).Get(t.Context(), blk.Cid())
	if err != nil || !got.Cid().Equals(blk.Cid()) {
		t.Errorf("%v, %v", got, err)
	}
	_, err = bitswap.New(t.Context(), bitswap.Config{
		Identity: newKey(t), Store: memory(), SwarmKey: key, Listen: []string{"/ip4/127.0.0.1/udp/0/quic-v1"},
	})
	if err == nil || !strings.Contains(err.Error(), "TCP only") {
		t.Errorf("listens over QUIC: %v", err)
	}
}

// TestAllowedPeers: who is not listed gets no connection, in either direction.
func TestAllowedPeers(t *testing.T) {
	friend, _ := start(t, nil)
	stranger, _ := start(t, nil)
	a, _ := start(t, func(c *bitswap.Config) { c.Allow = []string{friend.ID().PeerID} })
	if err := tryConnect(t, a, stranger); err == nil {
		t.Error("dialled a stranger")
	}
	// The stranger may believe for a moment that it is connected.
	_ = tryConnect(t, stranger, a)
	connect(t, friend, a)
	eventually(t, "the stranger is gone", func() bool { return len(stranger.Peers()) == 0 })
	if peers := a.Peers(); len(peers) != 1 || peers[0].ID != friend.ID().PeerID {
		t.Errorf("peers %+v", peers)
	}
	if _, err := bitswap.New(t.Context(), bitswap.Config{Identity: newKey(t), Store: memory(), Allow: []string{"nonsense"}}); err == nil {
		t.Error("allowed what is no peer")
	}
}

// TestSwarmKeyFile writes and reads key files, Kubo's too.
func TestSwarmKeyFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := bitswap.LoadSwarmKey(dir); !errors.Is(err, bitswap.ErrNoSwarmKey) {
		t.Errorf("no file: %v", err)
	}
	key, err := bitswap.NewSwarmKey(dir)
	if err != nil || len(key) != 32 {
		t.Fatal(key, err)
	}
	if _, err := bitswap.NewSwarmKey(dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a key was replaced: %v", err)
	}
	name := filepath.Join(dir, "swarm.key")
	if st, err := os.Stat(name); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	if got, err := bitswap.LoadSwarmKey(dir); err != nil || string(got) != string(key) {
		t.Errorf("%v, %v", got, err)
	}
	secret := strings.Repeat("ab", 32)
	if text := fmt.Sprintf("%v %s %#v %+v", key, key, key, struct{ K bitswap.SwarmKey }{key}); strings.Contains(text, fmt.Sprintf("%d", []byte(key))) {
		t.Errorf("prints %s", text)
	}
	for _, c := range []struct {
		text string
		ok   bool
	}{
		{"/key/swarm/psk/1.0.0/\n/base16/\n" + secret, true},
		{"/key/swarm/psk/1.0.0/\r\n/base16/\r\n" + secret + "\r\n", true},
		{"/key/swarm/psk/1.0.0/\n/base16/\n" + secret[:62], false},
		{"/key/swarm/psk/2.0.0/\n/base16/\n" + secret, false},
		{secret + "\n", false},
		{"", false},
		{strings.Repeat("x", 5000), false},
	} {
		if err := os.WriteFile(name, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := bitswap.LoadSwarmKey(dir)
		if (err == nil) != c.ok || errors.Is(err, bitswap.ErrNoSwarmKey) {
			t.Errorf("%.40q: %v", c.text, err)
		}
		if err != nil && strings.Contains(err.Error(), "abab") {
			t.Errorf("tells the key: %v", err)
		}
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(name, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := bitswap.LoadSwarmKey(dir); err == nil || errors.Is(err, bitswap.ErrNoSwarmKey) {
		t.Errorf("a directory: %v", err)
	}
}
