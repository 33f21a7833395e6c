package dagcbor

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"
)

const raw = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e" // "hello world"

func mustCID(t testing.TB) cid.Cid {
	t.Helper()
	c, err := cid.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestLinks(t *testing.T) {
	c := mustCID(t)
	link := string(append(AppendHead(nil, Link, uint64(c.ByteLen())), c.Bytes()...))
	for _, tc := range []struct {
		name, block string
		links       int
		bad         string // part of the error
	}{
		{"number", "\x18\x2a", 0, ""},
		{"float", "\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00", 0, ""},
		{"null", "\xf6", 0, ""},
		{"empty array", "\x80", 0, ""},
		{"link", link, 1, ""},
		{"two in an array", "\x82" + link + link, 2, ""},
		{"in maps", "\xa2\x61a" + link + "\x61b\xa1\x61c\x82\x20" + link, 2, ""},
		{"bytes of a CID are no link", "\x58\x24" + string(c.Bytes()), 0, ""},
		{"empty", "", 0, "ends early"},
		{"cut", link[:20], 0, "ends early"},
		{"more than one", "\x01\x02", 0, "behind the end"},
		{"many items promised", "\x9b\xff\xff\xff\xff\xff\xff\xff\xff", 0, "items in 0 bytes"},
		{"many pairs promised", "\xbb\x80\x00\x00\x00\x00\x00\x00\x00", 0, "items in 0 bytes"},
		{"long string promised", "\x7b\x7f\xff\xff\xff\xff\xff\xff\xff", 0, "ends early"},
		{"indefinite", "\x9f\x01\xff", 0, "indefinite"},
		{"other tag", "\xc1\x01", 0, "tag 1"},
		{"link to a number", "\xd8\x2a\x01", 0, "no bytes"},
		{"link without zero", "\xd8\x2a\x41\x01", 0, "without its zero"},
		{"link to nonsense", "\xd8\x2a\x42\x00\x01", 0, "a link"},
		{"undefined", "\xf7", 0, "simple value"},
		{"deep", strings.Repeat("\x81", maxDepth+1) + "\x01", 0, "deeper"},
	} {
		links, err := Links([]byte(tc.block))
		if tc.bad != "" {
			if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), tc.bad) {
				t.Errorf("%s: %v, want %q", tc.name, err, tc.bad)
			}
			continue
		}
		if err != nil || len(links) != tc.links {
			t.Errorf("%s: %v, %v", tc.name, links, err)
		}
		for _, l := range links {
			if !l.Equals(c) {
				t.Errorf("%s: %s", tc.name, l)
			}
		}
	}
}

// TestHead writes heads of every width as the standard has them.
func TestHead(t *testing.T) {
	for want, got := range map[string][]byte{
		"17": AppendHead(nil, Uint, 23), "1818": AppendHead(nil, Uint, 24), "590100": AppendHead(nil, Bytes, 256),
		"7a00010000": AppendHead(nil, Text, 1<<16), "9b0000000100000000": AppendHead(nil, Array, 1<<32),
		"d82a582500": AppendHead(nil, Link, 36), "a1": AppendHead(nil, Map, 1),
	} {
		if hex.EncodeToString(got) != want {
			t.Errorf("%x, want %s", got, want)
		}
	}
}

func FuzzLinks(f *testing.F) {
	c := mustCID(f)
	f.Add([]byte("\x82\x01" + string(append(AppendHead(nil, Link, uint64(c.ByteLen())), c.Bytes()...))))
	f.Add([]byte("\xa1\x61a\x9b\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		links, err := Links(b)
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%v", err)
		}
		for _, l := range links {
			if !bytes.Contains(b, l.Bytes()) {
				t.Errorf("%s is not in the block", l)
			}
		}
	})
}
