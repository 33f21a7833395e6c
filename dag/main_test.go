package dag

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/ipld/merkledag"
	ipld "github.com/ipfs/go-ipld-format"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pattern is endless content that differs everywhere and costs little.
type pattern struct{ state uint64 }

func (p *pattern) Read(b []byte) (int, error) {
	state := p.state // the race detector looks at every use of a field
	for i := range b {
		state = state*6364136223846793005 + 1442695040888963407
		b[i] = byte(state >> 56)
	}
	p.state = state
	return len(b), nil
}

// content returns n bytes of a pattern.
func content(n int) []byte {
	b := make([]byte, n)
	(&pattern{uint64(n)}).Read(b)
	return b
}

// newStore returns an empty store that lives as long as the test.
func newStore(t testing.TB) *blockstore.Memory {
	t.Helper()
	s := blockstore.NewMemory()
	t.Cleanup(func() { s.Close() })
	return s
}

// dagService is boxo's view of a store, for boxo's own importers and readers.
func dagService(s blockstore.Store) ipld.DAGService {
	return merkledag.NewDAGService(blockservice.New(s, offline.Exchange(s)))
}

// mustImport takes content in and returns its file.
func mustImport(t testing.TB, s blockstore.Store, b []byte, o ImportOptions) File {
	t.Helper()
	f, err := Import(t.Context(), s, bytes.NewReader(b), o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// readAll reads a whole file through a Reader.
func readAll(ctx context.Context, src Getter, f File) ([]byte, error) {
	r, err := Open(ctx, src, f.Root)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	_, err = r.CopyRange(ctx, &b, 0, -1)
	return b.Bytes(), errors.Join(err, r.Close())
}

// zeros is endless content that costs nothing.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
