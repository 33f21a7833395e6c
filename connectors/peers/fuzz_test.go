package peers

import (
	"bytes"
	"testing"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	blocks "github.com/ipfs/go-block-format"
)

// emptyDir is the block of an empty directory.
func emptyDir() (blocks.Block, error) {
	c, err := cid.Prefix{Version: 1, Codec: cid.DagProtobuf, MhType: 0x12, MhLength: 32}.Sum([]byte{0x0a, 2, 8, 1})
	if err != nil {
		return nil, err
	}
	return blocks.NewBlockWithCid([]byte{0x0a, 2, 8, 1}, c)
}

// FuzzMessage feeds bytes to the parser of offers and of answers to them.
func FuzzMessage(f *testing.F) {
	id, err := peer.Decode("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N")
	if err != nil {
		f.Fatal(err)
	}
	for _, m := range []message{
		{Kind: kindAlive},
		{Kind: kindCommit},
		{Kind: kindDelivered, Again: true},
		refused(&Refusal{Code: CodeBusy, Detail: "x", RetryAfter: 1e9}),
		{Kind: kindOffer, Offer: &wireOffer{
			V: 1, Transfer: "t", Name: "n", CID: "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e", Size: 5, Inline: 5,
			SHA256: "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9",
			MAC:    "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9",
			Others: []wireOther{{ID: id.String(), Addrs: []string{"/ip4/127.0.0.1/tcp/1", "x"}}},
		}},
	} {
		b, err := m.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMessage(b)
		if err != nil {
			return
		}
		if m.Kind == kindRefused {
			if r := m.refusal(); r.Code == "" || len(r.Detail) > 3*maxDetail || r.RetryAfter < 0 {
				t.Errorf("refusal is %+v", r)
			}
		}
		if m.Offer == nil {
			return
		}
		r, err := m.Offer.parse()
		if err != nil {
			return
		}
		if r.inline < 0 || r.inline > maxInline || r.File.Size < 0 || len(r.Others) > maxOthers || !isToken(r.Transfer) || len(r.Others) != len(r.others) {
			t.Errorf("offer is %+v", r)
		}
		if r.proves(id, id)("") {
			t.Error("the empty secret is proven")
		}
		if mac := r.mac; len(mac) > 0 && !bytes.Equal(r.Offer.mac(id, id, "x"), r.Offer.mac(id, id, "x")) {
			t.Error("the MAC is not the same twice")
		}
	})
}

// FuzzBlocks feeds bytes to the parsers of the stream of blocks.
func FuzzBlocks(f *testing.F) {
	file := fileRoot(f)
	f.Add([]byte(`{"v":1,"root":"`+file.String()+`","transfer":"t"}`), file.Bytes(), []byte{0, 0, 0, 1, 0, 0, 0, 2, 'a', 'b'})
	f.Add([]byte(`{}`), append(file.Bytes(), file.Bytes()...), []byte{0, 0, 0, 1, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, h, wants, answers []byte) {
		if root, transfer, err := parseHello(h); err == nil && (!root.Defined() || !isToken(transfer)) {
			t.Errorf("hello is %s, %q", root, transfer)
		}
		if cs, err := parseWants(wants); err == nil {
			var again []byte
			for _, c := range cs {
				again = append(again, c.Bytes()...)
			}
			if len(again) > len(wants) {
				t.Errorf("%d bytes became %d", len(wants), len(again))
			}
		}
		r := bytes.NewReader(answers)
		for {
			_, _, data, err := readAnswer(r)
			if err != nil {
				break
			}
			if len(data) > maxBlock {
				t.Errorf("block of %d bytes", len(data))
			}
		}
		if b, err := readFrame(bytes.NewReader(answers)); err == nil && len(b) > maxFrame {
			t.Errorf("message of %d bytes", len(b))
		}
	})
}

func fileRoot(f *testing.F) cid.Cid {
	c, err := cid.Decode("bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e")
	if err != nil {
		f.Fatal(err)
	}
	return c
}
