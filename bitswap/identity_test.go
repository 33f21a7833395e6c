package bitswap_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/libp2p/go-libp2p/core/crypto"

	"github.com/hypha-node/hypha-node/bitswap"
)

func TestIdentityIsMadeOnce(t *testing.T) {
	dir := t.TempDir()
	keys := make([]crypto.PrivKey, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			key, err := bitswap.LoadIdentity(dir)
			if err != nil {
				t.Error(err)
				return
			}
			keys[i] = key
		})
	}
	wg.Wait()
	for _, key := range keys {
		if key == nil || !key.Equals(keys[0]) {
			t.Fatal("two keys for one directory")
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != "identity.key" {
		t.Errorf("directory holds %v", entries)
	}
	if st, err := os.Stat(filepath.Join(dir, "identity.key")); err != nil || st.Mode() != fs.FileMode(0o600) {
		t.Errorf("mode is %v, %v", st.Mode(), err)
	}
}

func TestIdentityIsNeverReplaced(t *testing.T) {
	for name, text := range map[string]string{
		"empty":     "",
		"no pem":    "hello",
		"bad der":   "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
		"oversized": string(make([]byte, 1<<20)),
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "identity.key")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := bitswap.LoadIdentity(filepath.Dir(file)); err == nil {
				t.Error("no error")
			}
			if now, err := os.ReadFile(file); err != nil || string(now) != text {
				t.Errorf("file was changed: %q, %v", now, err)
			}
		})
	}
	if _, err := bitswap.LoadIdentity(filepath.Join(t.TempDir(), "absent")); err == nil {
		t.Error("no error for an absent directory")
	}
}
