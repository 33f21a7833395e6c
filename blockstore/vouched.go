package blockstore

import (
	"context"
	"encoding/binary"
	"hash/maphash"
	"sync"

	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"
)

const (
	vouchLeast = 64 << 10  // bytes of a block that is remembered
	vouchMost  = 256 << 10 // blocks, 10 MiB of memory: of 256 GiB in leaves of 1 MiB
)

// Passer is a Store that has a cheaper View for blocks that go to somebody who verifies
// them.
type Passer interface {
	// Pass is View for bytes that leave the node. A large block is verified by its hash
	// the first time; when it is read again while the store is open, it is enough that
	// it is the same bytes, by a hash of 64 bits with a secret of the process.
	Pass(ctx context.Context, c cid.Cid, f func([]byte) error) error
}

var (
	_ Passer = (*Disk)(nil)
	_ Passer = keepingScope{}
)

// Pass is View for bytes that somebody else will verify.
func (d *Disk) Pass(ctx context.Context, c cid.Cid, f func([]byte) error) error {
	return d.view(ctx, c, d.vouched.matches, f)
}

// Pass calls f with the bytes of a block that the scope may have.
func (s keepingScope) Pass(ctx context.Context, c cid.Cid, f func([]byte) error) error {
	if err := s.sees(ctx, c); err != nil {
		return err
	}
	return s.keeps.Pass(ctx, c, f)
}

// vouched remembers of large blocks what bytes were found to match their hash. sha256
// takes five times as long as a hash that only has to tell changes of the disk's from
// none, and a seed sends the same blocks again and again. When there is too much to
// remember, all is forgotten.
type vouched struct {
	seed maphash.Seed

	mu   sync.Mutex
	sums map[uint64]uint64 // of the bytes, by the end of the digest
}

func newVouched() *vouched {
	return &vouched{seed: maphash.MakeSeed(), sums: make(map[uint64]uint64)}
}

// matches tells whether data hashes to hash, or did before and is the same.
func (v *vouched) matches(hash mh.Multihash, data []byte) (bool, error) {
	if len(data) < vouchLeast || len(hash) < 8 {
		return matches(hash, data)
	}
	key, sum := binary.BigEndian.Uint64(hash[len(hash)-8:]), maphash.Bytes(v.seed, data)
	v.mu.Lock()
	before, known := v.sums[key]
	v.mu.Unlock()
	if known && before == sum {
		return true, nil
	}
	ok, err := matches(hash, data)
	if !ok || err != nil {
		return false, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.sums) >= vouchMost {
		clear(v.sums)
	}
	v.sums[key] = sum
	return true, nil
}
