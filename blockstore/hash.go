package blockstore

import (
	"crypto/sha256"
	"errors"
	"fmt"

	boxoblockstore "github.com/ipfs/boxo/blockstore"
	"github.com/ipfs/boxo/verifcid"
	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"
)

// maxBlock is the most a block may hold, in bytes: what bitswap carries
// (docs/terms.md, block).
const maxBlock = 2 << 20

// maxIdentity is the longest digest of an identity CID, in bytes, as in Kubo.
const maxIdentity = verifcid.DefaultMaxIdentityDigestSize

// admit refuses what the store does not take, whatever its bytes: no CID,
// a hash that proves nothing, too many bytes.
func admit(c cid.Cid, n int) error {
	if !c.Defined() {
		return errors.New("block without CID")
	}
	if n > maxBlock {
		return fmt.Errorf("block %s: %d bytes, at most %d", c, n, maxBlock)
	}
	if err := verifcid.ValidateCid(verifcid.DefaultAllowlist, c); err != nil {
		return fmt.Errorf("block %s: %w", c, err)
	}
	return nil
}

// matches tells whether data hashes to hash.
func matches(hash mh.Multihash, data []byte) (bool, error) {
	// 0x12 0x20: sha2-256 with a digest of 32 bytes, which almost all have.
	if len(hash) == 2+sha256.Size && hash[0] == mh.SHA2_256 && hash[1] == sha256.Size {
		return sha256.Sum256(data) == [sha256.Size]byte(hash[2:]), nil
	}
	want, err := mh.Decode(hash)
	if err != nil {
		return false, err
	}
	got, err := mh.Sum(data, want.Code, want.Length)
	if err != nil {
		return false, err
	}
	return string(got) == string(hash), nil
}

// verify returns boxo's ErrHashMismatch when data does not hash to c.
func verify(c cid.Cid, data []byte) error {
	ok, err := matches(c.Hash(), data)
	if err != nil {
		return fmt.Errorf("block %s: %w", c, err)
	}
	if !ok {
		return fmt.Errorf("block %s: %w", c, boxoblockstore.ErrHashMismatch)
	}
	return nil
}
