package car

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"
)

// blk is a block of a test.
type blk struct {
	cid  cid.Cid
	data []byte
}

func block(t testing.TB, version int, codec, hash uint64, data string) blk {
	t.Helper()
	c, err := cid.Prefix{Version: uint64(version), Codec: codec, MhType: hash, MhLength: -1}.Sum([]byte(data))
	must(t, err)
	return blk{c, []byte(data)}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// some are blocks of every kind.
func some(t testing.TB) []blk {
	return []blk{
		block(t, 1, cid.Raw, mh.SHA2_256, "hello"),
		block(t, 0, cid.DagProtobuf, mh.SHA2_256, "node"),
		block(t, 1, cid.Raw, mh.IDENTITY, "inline"),
		block(t, 1, cid.DagCBOR, mh.SHA2_512, "\xf6"),
		block(t, 1, cid.Raw, mh.SHA2_256, strings.Repeat("x", 2<<20)),
		block(t, 1, cid.Raw, mh.SHA2_256, ""),
	}
}

// file returns a CAR.
func file(t testing.TB, version int, blks []blk, roots ...cid.Cid) []byte {
	t.Helper()
	var b bytes.Buffer
	size := HeaderSize(roots)
	for _, k := range blks {
		size += SectionSize(k.cid, int64(len(k.data)))
	}
	w, err := NewWriter(&b, roots)
	want := size
	if version == 2 {
		b.Reset()
		w, err = NewWriterV2(&b, roots, size)
		want += WrapSize()
	}
	must(t, err)
	for _, k := range blks {
		must(t, w.Write(k.cid, k.data))
	}
	if int64(b.Len()) != want {
		t.Fatalf("%d bytes, %d were expected", b.Len(), want)
	}
	return b.Bytes()
}

// read reads a CAR to its end.
func read(r io.Reader) (c *Reader, blks []blk, err error) {
	if c, err = NewReader(r); err != nil {
		return nil, nil, err
	}
	for {
		id, data, err := c.Next()
		if errors.Is(err, io.EOF) && !errors.Is(err, ErrMalformed) {
			return c, blks, nil
		}
		if err != nil {
			return c, blks, err
		}
		blks = append(blks, blk{id, data})
	}
}

func TestRoundTrip(t *testing.T) {
	want := some(t)
	for _, version := range []int{1, 2} {
		for _, roots := range [][]cid.Cid{nil, {want[0].cid}, {want[1].cid, want[3].cid, want[2].cid}} {
			b := file(t, version, want, roots...)
			if version == 2 {
				b = append(b, "an index, or what not"...)
			}
			for _, src := range []io.Reader{bytes.NewReader(b), iotest.OneByteReader(bytes.NewReader(b))} {
				c, got, err := read(src)
				must(t, err)
				if c.Version != version || len(c.Roots) != len(roots) || len(got) != len(want) {
					t.Fatalf("version %d, %d roots, %d blocks", c.Version, len(c.Roots), len(got))
				}
				for i := range roots {
					if !c.Roots[i].Equals(roots[i]) {
						t.Errorf("root %s, want %s", c.Roots[i], roots[i])
					}
				}
				for i := range want {
					if !got[i].cid.Equals(want[i].cid) || !bytes.Equal(got[i].data, want[i].data) {
						t.Errorf("block %d is %s", i, got[i].cid)
					}
				}
			}
		}
	}
}

// TestCut: a CAR that ends anywhere but behind a section is told, at its place.
func TestCut(t *testing.T) {
	blks := []blk{block(t, 1, cid.Raw, mh.SHA2_256, "hello"), block(t, 1, cid.Raw, mh.SHA2_256, "world")}
	root := blks[0].cid
	for _, version := range []int{1, 2} {
		whole := file(t, version, blks, root)
		ends := map[int]bool{len(whole): true}
		if version == 1 { // it does not tell its size
			ends[len(whole)-int(SectionSize(blks[1].cid, 5))] = true
			ends[len(whole)-2*int(SectionSize(blks[1].cid, 5))] = true
		}
		for n := range len(whole) + 1 {
			_, _, err := read(bytes.NewReader(whole[:n]))
			if (err == nil) != ends[n] || (err != nil && !errors.Is(err, ErrMalformed)) {
				t.Errorf("version %d cut at %d of %d: %v", version, n, len(whole), err)
			}
		}
	}
	broken := errors.New("broken")
	if _, _, err := read(io.MultiReader(bytes.NewReader(file(t, 1, blks)), iotest.ErrReader(broken))); !errors.Is(err, broken) || errors.Is(err, ErrMalformed) {
		t.Errorf("error of the source: %v", err)
	}
}

// frame puts the length of something in front of it.
func frame(s string) string { return string(binary.AppendUvarint(nil, uint64(len(s)))) + s }

// v2 wraps something.
func v2(off, size uint64, rest string) string {
	b := append([]byte(pragma), make([]byte, 16)...)
	b = binary.LittleEndian.AppendUint64(b, off)
	b = binary.LittleEndian.AppendUint64(b, size)
	return string(binary.LittleEndian.AppendUint64(b, 0)) + rest
}

func TestMalformed(t *testing.T) {
	hello := block(t, 1, cid.Raw, mh.SHA2_256, "hello")
	ok := string(file(t, 1, []blk{hello}, hello.cid))
	huge := string(binary.AppendUvarint(nil, 1<<62))
	for _, tc := range []struct{ name, car, want string }{
		{"empty", "", "empty"},
		{"text", strings.Repeat("this is no CAR but a text", 10), "header"},
		{"header of no bytes", "\x00", "header of 0 bytes"},
		{"huge header", huge, "header of 4611686018427387904 bytes"},
		{"endless length", strings.Repeat("\xff", 20), "longer than 9 bytes"},
		{"header is a number", frame("\x01"), "no map"},
		{"no version", frame("\xa1\x65roots\x80"), "no version"},
		{"version 0", frame("\xa2\x65roots\x80\x67version\x00"), "version 0"},
		{"version 42", frame("\xa1\x67version\x18\x2a"), "version 42"},
		{"version is a text", frame("\xa1\x67version\x611"), "version is no number"},
		{"roots are a map", frame("\xa2\x65roots\xa0\x67version\x01"), "no array"},
		{"a root is a text", frame("\xa2\x65roots\x81\x61x\x67version\x01"), "no link"},
		{"unknown key", frame("\xa2\x61x\x01\x67version\x01"), "unknown"},
		{"key twice", frame("\xa2\x67version\x01\x67version\x01"), "key"},
		{"more behind the header", frame("\xa1\x67version\x01\x01"), "behind the end"},
		{"many roots promised", frame("\xa2\x65roots\x9b\xff\xff\xff\xff\xff\xff\xff\xff\x67version\x01"), "items"},
		{"section of no bytes", ok + "\x00", "no bytes at byte"},
		{"huge section", ok + huge, "more than a block has"},
		{"section without a CID", ok + frame("hello"), "section at byte"},
		{"section shorter than its CID", ok + frame(string(hello.cid.Bytes()[:20])), "section at byte"},
		{"pragma of another length", frame("\xa2\x65roots\x80\x67version\x02") + strings.Repeat("\x00", 40), "begins with"},
		{"version 2 in front of its data", v2(11, 100, ok), "data at 11"},
		{"version 2 without data", v2(51, 0, ok), "0 bytes of it"},
		{"version 2 with data far away", v2(1<<63, 10, ok), "data at 9223372036854775808"},
		{"version 2 with data behind the end", v2(1<<40, 10, ok), "cut off"},
		{"version 2 in version 2", v2(51, uint64(len(pragma)), pragma), "version 2 inside"},
		{"section beyond the data", v2(51, uint64(len(ok)-1), ok), "beyond the data"},
		{"version 2 longer than it is", v2(51, uint64(len(ok)+1), ok), "cut off"},
	} {
		_, _, err := read(strings.NewReader(tc.car))
		if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

// TestGoCar reads the samples of github.com/ipld/go-car, where they are.
func TestGoCar(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOMODCACHE").Output()
	must(t, err)
	dir := filepath.Join(strings.TrimSpace(string(out)), "github.com/ipld/go-car/v2@v2.17.0/testdata")
	if _, err := os.Stat(dir); err != nil {
		t.Skip("the samples are not there: go mod download github.com/ipld/go-car/v2@v2.17.0 gets them")
	}
	for name, want := range map[string]string{
		"sample-v1.car": "", "sample-v1-noidentity.car": "", "sample-wrapped-v2.car": "", "sample-rw-bs-v2.car": "",
		"sample-v2-indexless.car": "", "sample-unixfs-v2.car": "",
		"sample-corrupt-pragma.car":             "cut off",
		"sample-rootless-v42.car":               "version 42",
		"sample-v1-tailing-corrupt-section.car": "cut off",
		"sample-v1-with-zero-len-section.car":   "no bytes",
		"sample-v1-with-zero-len-section2.car":  "no bytes",
		"sample-v2-corrupt-data-and-index.car":  "with its data at",
	} {
		f, err := os.Open(filepath.Join(dir, name))
		must(t, err)
		c, blks, err := read(f)
		must(t, f.Close())
		switch {
		case want == "" && (err != nil || len(blks) == 0 || len(c.Roots) == 0):
			t.Errorf("%s: %d blocks, %v", name, len(blks), err)
		case want != "" && (!errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

func FuzzReader(f *testing.F) {
	blks := some(f)[:4]
	f.Add(file(f, 1, blks, blks[0].cid))
	f.Add(file(f, 2, blks, blks[1].cid))
	f.Add([]byte(v2(60, 20, "padding")))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, blks, err := read(bytes.NewReader(b))
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("%v", err)
			}
			return
		}
		again, same, err := read(bytes.NewReader(file(t, c.Version, blks, c.Roots...)))
		must(t, err)
		if len(same) != len(blks) || len(again.Roots) != len(c.Roots) {
			t.Errorf("%d blocks, %d before", len(same), len(blks))
		}
	})
}
