package bitswap

import (
	"bytes"
	"testing"

	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"
)

func TestAnswer(t *testing.T) {
	root := cid.NewCidV1(cid.Raw, mh.Multihash(emptyHash))
	for _, h := range []*Holding{nil, {Root: root}, {Root: root, Size: 1 << 40}} {
		got, err := readAnswer(bytes.NewReader(encodeAnswer(h)))
		if err != nil || (got == nil) != (h == nil) || h != nil && *got != *h {
			t.Errorf("%v became %v, %v", h, got, err)
		}
	}
}

// FuzzAnswer reads answers of peers; one that is taken is written as it came.
func FuzzAnswer(f *testing.F) {
	f.Add(encodeAnswer(nil))
	f.Add(encodeAnswer(&Holding{Root: cid.NewCidV1(cid.Raw, mh.Multihash(emptyHash)), Size: 7}))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := readAnswer(bytes.NewReader(data))
		if err != nil {
			return
		}
		if h != nil && (h.Size < 0 || !h.Root.Defined()) {
			t.Errorf("took %+v", h)
		}
		if again := encodeAnswer(h); !bytes.HasPrefix(data, again) {
			t.Errorf("%x was taken for %x", data, again)
		}
	})
}
