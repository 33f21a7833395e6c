package bitswap

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/libp2p/go-libp2p/core/pnet"
	ma "github.com/multiformats/go-multiaddr"
)

// swarmKeyFile is the name of the key of a private network inside a repository:
// Kubo's, whose format it has.
const swarmKeyFile = "swarm.key"

// swarmKeyHead begins the file; 64 hex digits follow
// (https://github.com/libp2p/specs/blob/master/pnet/Private-Networks-PSK-V1.md).
const swarmKeyHead = "/key/swarm/psk/1.0.0/\n/base16/\n"

// swarmKeyLimit bounds what is read of a key file, in bytes; a real one has 95 or 96.
const swarmKeyLimit = 4 << 10

// ErrNoSwarmKey says that a repository has no key of a private network.
var ErrNoSwarmKey = errors.New("no key of a private network")

// SwarmKey is the secret that all nodes of a private network share: 32 bytes.
type SwarmKey []byte

// Fingerprint names a key without telling it: 16 hex digits, "" for none.
func (k SwarmKey) Fingerprint() string {
	if len(k) == 0 {
		return ""
	}
	sum := sha256.Sum256(append([]byte("hypha swarm key "), k...))
	return hex.EncodeToString(sum[:8])
}

// String is the fingerprint, so that no log has the key.
func (k SwarmKey) String() string { return k.Fingerprint() }

// GoString is the fingerprint, too.
func (k SwarmKey) GoString() string { return k.Fingerprint() }

// LoadSwarmKey returns the key in dir/swarm.key; an error that wraps ErrNoSwarmKey
// when there is none. One that can't be read is never taken for none.
func LoadSwarmKey(dir string) (SwarmKey, error) {
	name := filepath.Join(dir, swarmKeyFile)
	st, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: %w", name, ErrNoSwarmKey)
	case err != nil:
		return nil, err
	case !st.Mode().IsRegular() || st.Size() > swarmKeyLimit:
		return nil, fmt.Errorf("%s: not a key file", name)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	key, err := parseSwarmKey(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return key, nil
}

// parseSwarmKey decodes a key file.
func parseSwarmKey(text []byte) (SwarmKey, error) {
	psk, err := pnet.DecodeV1PSK(bytes.NewReader(text))
	if err != nil {
		// Its own text may have some of the key.
		return nil, errors.New("not a swarm key: its lines are /key/swarm/psk/1.0.0/, /base16/ and 64 hex digits")
	}
	return SwarmKey(psk), nil
}

// NewSwarmKey makes a key and writes it to dir/swarm.key, mode 0600. A key that is
// there is never replaced: an error that wraps fs.ErrExist.
func NewSwarmKey(dir string) (SwarmKey, error) {
	key := make(SwarmKey, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close() // the file is complete by then
	f, err := root.OpenFile(swarmKeyFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.WriteString(swarmKeyHead + hex.EncodeToString(key) + "\n")
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, errors.Join(err, root.Remove(swarmKeyFile))
	}
	return key, nil
}

// privateListen returns where a node of a private network listens: by default not
// over QUIC, whose handshake leaves no room for the network's key.
func privateListen(addrs []string) ([]string, error) {
	if addrs == nil {
		for _, s := range DefaultListen() {
			if a, err := ma.NewMultiaddr(s); err == nil && overTCP(a) {
				addrs = append(addrs, s)
			}
		}
		return addrs, nil
	}
	for _, s := range addrs {
		if a, err := ma.NewMultiaddr(s); err == nil && !overTCP(a) {
			return nil, fmt.Errorf("listen address %q: a private network runs over TCP only", s)
		}
	}
	return addrs, nil
}
