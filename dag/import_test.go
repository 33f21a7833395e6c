package dag

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	splitter "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	uio "github.com/ipfs/boxo/ipld/unixfs/io"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/blockstore"
)

// boxoProfile is boxo's description of one of our profiles.
func boxoProfile(p Profile) uio.UnixFSProfile {
	b := uio.UnixFS_v1_2025
	if p.v0 {
		b = uio.UnixFS_v0_2015
	}
	b.ChunkSize = int64(p.leafSize())
	return b
}

// boxoImport is what boxo's importer makes of the content.
func boxoImport(t *testing.T, r io.Reader, p Profile) cid.Cid {
	t.Helper()
	n, err := boxoFile(r, p, dagService(newStore(t)))
	if err != nil {
		t.Fatal(err)
	}
	return n.Cid()
}

func boxoFile(r io.Reader, p Profile, serv ipld.DAGService) (ipld.Node, error) {
	b := boxoProfile(p)
	params := helpers.DagBuilderParams{
		Maxlinks: b.FileDAGWidth, RawLeaves: b.RawLeaves, CidBuilder: b.CidBuilder(), Dagserv: serv,
	}
	builder, err := params.New(splitter.NewSizeSplitter(r, b.ChunkSize))
	if err != nil {
		return nil, err
	}
	return balanced.Layout(builder)
}

// chunker is a profile with leaves of n bytes.
func chunker(p Profile, n int) Profile {
	p.chunk = n
	return p
}

func TestImportGivesBoxosCIDs(t *testing.T) {
	const mib = 1 << 20
	for _, p := range []Profile{V1_2025(), V0_2015(), chunker(V1_2025(), 1000), chunker(V0_2015(), 77), chunker(V0_2015(), 1000), chunker(V1_2025(), 1), chunker(V1_2025(), maxLeaf)} {
		leaf, width := p.leafSize(), p.width()
		sizes := []int{0, 1, 11, leaf - 1, leaf, leaf + 1, 2 * leaf, 3*leaf + 7}
		if leaf*width < 2*mib { // every shape of a tree of three levels
			sizes = append(sizes, leaf*(width-1), leaf*width-1, leaf*width, leaf*width+1, leaf*(width+1), leaf*width*2, leaf*width*2+1)
		}
		if leaf*width*width < 4*mib && p.v0 {
			sizes = append(sizes, leaf*width*width, leaf*width*width+1, leaf*(width*width+width)+1)
		}
		for _, n := range sizes {
			t.Run(fmt.Sprintf("%s/%d", p, n), func(t *testing.T) {
				t.Parallel()
				b := content(n)
				for _, o := range []ImportOptions{{HashOnly: true}, {}, {apart: true}, {apart: true, HashOnly: true}} {
					o.Profile = p
					s := newStore(t)
					f := mustImport(t, s, b, o)
					if want := boxoImport(t, bytes.NewReader(b), p); f.Root != want {
						t.Fatalf("root %s, want %s", f.Root, want)
					}
					if f.Size != int64(n) || f.SHA256 != sha256.Sum256(b) {
						t.Errorf("size %d, sha256 %x", f.Size, f.SHA256)
					}
					if o.HashOnly {
						continue
					}
					got, err := readAll(t.Context(), s, f)
					if err != nil || !bytes.Equal(got, b) {
						t.Errorf("read back %d bytes, %v", len(got), err)
					}
				}
			})
		}
	}
}

// TestImportConstants holds CIDs that Kubo 0.43 printed, for
// `ipfs init --profile=unixfs-v1-2025` or unixfs-v0-2015 and `ipfs add`.
func TestImportConstants(t *testing.T) {
	for _, c := range []struct {
		name    string
		profile Profile
		content io.Reader
		want    string
	}{
		{"hello world", V1_2025(), strings.NewReader("hello world"), "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"},
		{"empty", V1_2025(), strings.NewReader(""), "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"},
		{"empty, v0", V0_2015(), strings.NewReader(""), "QmbFMke1KXqnYyBBWxB74N4c5SBnJMVAiMNRcGu6x1AwQH"},
		{"hello world, v0", V0_2015(), strings.NewReader("hello world"), "Qmf412jQZiuVUtdgnB36FXFX7xg5V6KEbSJ4dpQuhkLyfD"},
		{"1 B", V1_2025(), null(1), "bafkreidogqfzz75tpkmjzjke425xqcrmpcib2p5tg44hnbirumdbpl5adu"},
		{"1 MiB - 1 B", V1_2025(), null(1<<20 - 1), "bafkreigkp3imjkhgps64iyoezmgsq3jpvo6z6dcbu72cwzs7olv2vcxmky"},
		{"1 MiB", V1_2025(), null(1 << 20), "bafkreibq4fevl27rgurgnxbp7adh42aqiyd6ouflxhj3gzmcxcxzbh6lla"},
		{"1 MiB + 1 B", V1_2025(), null(1<<20 + 1), "bafybeihd4yzq7n5umhjngdum4r6k2to7egxfkf2jz6thvwzf6djus22cmq"},
		{"1024 MiB", V1_2025(), null(1 << 30), "bafybeibqawkaltgjfdebq4no6nmfcvkcw7k52xqzclkwfmrkn6oxw7srmy"},
		{"1024 MiB + 1 B", V1_2025(), null(1<<30 + 1), "bafybeigx4uyebjbq65346xh6cjrt6yshbdudzudhnqecwbzvymslxj7gje"},
		{"1 B, v0", V0_2015(), null(1), "QmS9JArPwa55ePgDnyg6TzX24mYTS1b1vLqWNebyVotKxQ"},
		{"1 MiB + 1 B, v0", V0_2015(), null(1<<20 + 1), "Qmeb988ZjF9Ui6AVPR8Sjg5sAv1B6DauS5rUjCoNs7ftZ1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f, err := Import(t.Context(), nil, c.content, ImportOptions{Profile: c.profile, HashOnly: true})
			if err != nil || f.Root.String() != c.want {
				t.Errorf("root %s, %v; want %s", f.Root, err, c.want)
			}
		})
	}
}

// null is content of n zero bytes.
func null(n int64) io.Reader { return io.LimitReader(zeros{}, n) }

// TestDirectoryConstants holds what Kubo 0.43 printed for a directory of 2,000
// files: 200 digits as a name, the same number without leading zeros as content.
func TestDirectoryConstants(t *testing.T) {
	for _, c := range []struct {
		profile Profile
		want    string
	}{
		{V1_2025(), "bafybeifhjxoljuex2zcxdg4rmp5ufukgsu4oa367c2osxbrpokvopnf2ty"},
		{V0_2015(), "QmXmmAqQanKC3ipxEiBg64mkCdngTYJNxuT9GvbrdS4xmB"},
	} {
		links := make([]link, 2000)
		for i := range links {
			blk := c.profile.leaf([]byte(strconv.Itoa(i)))
			links[i] = newLink(blk.Cid(), len(blk.RawData()), 0)
			links[i].name = fmt.Sprintf("%0200d", i)
		}
		l, err := c.profile.encodeDir(links, func(blocks.Block) error { return nil })
		if err != nil || l.cid.String() != c.want {
			t.Errorf("%s: %s, %v; want %s", c.profile, l.cid, err, c.want)
		}
	}
}

func TestImportOptions(t *testing.T) {
	boom := errors.New("boom")
	for _, p := range []Profile{V1_2025(), V0_2015()} {
		for _, n := range []int{0, 100, 1 << 20, 5<<20 + 3} {
			t.Run(fmt.Sprintf("%s/%d", p, n), func(t *testing.T) {
				b := content(n)
				s := newStore(t)
				tee := make(memoryAt, n)
				var also bytes.Buffer
				progress := make(chan int64, 100)
				f := mustImport(t, s, b, ImportOptions{
					Profile: p, Size: int64(n), Tee: tee, Also: []io.Writer{&also}, Limit: int64(max(n, 1)),
					Progress: func(n int64) { progress <- n },
					Accept: func(f File) (map[string][]byte, error) {
						if f.Size != int64(n) || f.SHA256 != sha256.Sum256(b) {
							t.Errorf("Accept was told %d bytes, %x", f.Size, f.SHA256)
						}
						return map[string][]byte{"url:x": []byte(`{"etag":1}`)}, nil
					},
				})
				close(progress)
				var told int64
				for n := range progress {
					told += n
				}
				if told != int64(n) {
					t.Errorf("progress of %d bytes, want %d", told, n)
				}
				if !bytes.Equal(tee, b) || !bytes.Equal(also.Bytes(), b) {
					t.Error("Tee or Also got something else")
				}
				a, err := s.Alias(t.Context(), "url:x")
				if err != nil || a.Root != f.Root || string(a.Meta) != `{"etag":1}` {
					t.Errorf("alias %v, %v", a, err)
				}
				rec, err := s.File(t.Context(), f.Root)
				if err != nil || rec != f {
					t.Errorf("record %v, %v; want %v", rec, err, f)
				}
			})
		}
	}
	for _, n := range []int{10, 3 << 20} {
		for name, c := range map[string]struct {
			o    ImportOptions
			read io.Reader
			want error
		}{
			"Accept refuses": {o: ImportOptions{Accept: func(File) (map[string][]byte, error) { return nil, boom }}, want: boom},
			"Also fails":     {o: ImportOptions{Also: []io.Writer{failing{boom}}}, want: boom},
			"Tee fails":      {o: ImportOptions{Tee: failing{boom}}, want: boom},
			"too short":      {o: ImportOptions{Size: int64(n) + 1}, want: io.ErrUnexpectedEOF},
			"too long":       {o: ImportOptions{Size: int64(n) - 1}, want: ErrTooLarge},
			"limit":          {o: ImportOptions{Limit: int64(n) - 1}, want: ErrTooLarge},
			"read fails":     {read: io.MultiReader(bytes.NewReader(content(n)), failing{boom}), want: boom},
		} {
			t.Run(fmt.Sprintf("%s/%d", name, n), func(t *testing.T) {
				s := newStore(t)
				r := c.read
				if r == nil {
					r = bytes.NewReader(content(n))
				}
				f, err := Import(t.Context(), s, r, c.o)
				if !errors.Is(err, c.want) || f.Root.Defined() {
					t.Fatalf("Import = %v, %v; want %v", f, err, c.want)
				}
				whole := mustImport(t, nil, content(n), ImportOptions{HashOnly: true})
				if _, err := s.File(t.Context(), whole.Root); err == nil {
					t.Error("recorded all the same")
				}
			})
		}
	}
}

// memoryAt is an io.WriterAt; writes to different places may be concurrent.
type memoryAt []byte

func (m memoryAt) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }

// failing fails whatever it is asked for.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error)           { return 0, f.err }
func (f failing) Write([]byte) (int, error)          { return 0, f.err }
func (f failing) WriteAt([]byte, int64) (int, error) { return 0, f.err }

// TestImportIsOwned: a file of one leaf is known to be its scope's when Import
// returns, so that admitting the scope afterwards writes nothing.
func TestImportIsOwned(t *testing.T) {
	s := blockstore.NewMemory()
	for _, n := range []int{0, 10, 3 << 20} {
		f, err := Import(t.Context(), s.Scope("a"), bytes.NewReader(make([]byte, n)), ImportOptions{})
		if err != nil {
			t.Fatal(err)
		}
		who, err := s.Audience(t.Context(), f.Root)
		if err != nil || who.Public || !who.Admits("a") {
			t.Errorf("%d bytes: %+v, %v", n, who, err)
		}
	}
}
