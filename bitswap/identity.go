package bitswap

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/libp2p/go-libp2p/core/crypto"
)

// identityFile is the name of the key inside a repository.
const identityFile = "identity.key"

// identityLimit bounds what is read of a key file, in bytes; a real one has 119.
const identityLimit = 4 << 10

// LoadIdentity returns the Ed25519 key in dir/identity.key (PKCS #8 in PEM,
// mode 0600), and makes it when there is none. Of two processes that make it at
// the same time one wins and both return its key; a key is never replaced.
func LoadIdentity(dir string) (crypto.PrivKey, error) {
	name := filepath.Join(dir, identityFile)
	key, err := readIdentity(name)
	if errors.Is(err, fs.ErrNotExist) {
		if err = createIdentity(dir, name); err == nil || errors.Is(err, fs.ErrExist) {
			key, err = readIdentity(name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("identity %s: %w", name, err)
	}
	return key, nil
}

// readIdentity reads a key file.
func readIdentity(name string) (crypto.PrivKey, error) {
	st, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > identityLimit {
		return nil, errors.New("not a key file")
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return parseIdentity(text)
}

// parseIdentity decodes an Ed25519 key in PEM.
func parseIdentity(text []byte) (crypto.PrivKey, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("key is %T, not Ed25519", parsed)
	}
	return crypto.UnmarshalEd25519PrivateKey(key)
}

// createIdentity writes a new key under a temporary name, makes it durable and
// links it to name; fs.ErrExist when somebody was faster.
func createIdentity(dir, name string) (err error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, ".identity-*") // 0600
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(tmp.Name())) }()
	err = pem.Encode(tmp, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), name); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes new names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
