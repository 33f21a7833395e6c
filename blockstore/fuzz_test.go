package blockstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/internal/dagpb"
)

func FuzzFooter(f *testing.F) {
	dag := bigDAG(1, 3, 100)
	foot := &footer{at: 7, file: dag.File, aliases: map[string]Alias{"url:x": {Root: dag.Root, Meta: []byte("m")}}}
	for i, leaf := range dag.leaves {
		foot.blocks = append(foot.blocks, placedBlock{leaf.Cid(), int64(i * 100), 100})
	}
	enc := foot.encode()
	f.Add(enc, int64(1000))
	f.Add(appendTrailer(bytes.Clone(enc), enc, 0), int64(1000))
	f.Add(enc[:len(enc)-3], int64(1000))
	f.Add(bytes.Repeat([]byte{0xff}, 60), int64(1)<<62)
	f.Fuzz(func(t *testing.T, b []byte, limit int64) {
		got, err := decodeFooter(b, limit)
		if err == nil {
			for _, blk := range got.blocks {
				if blk.off < 0 || blk.length < 0 || blk.off+blk.length > limit {
					t.Fatalf("block at %d of %d bytes, beyond %d", blk.off, blk.length, limit)
				}
			}
			again, err := decodeFooter(got.encode(), limit)
			if err != nil || again.file != got.file || len(again.blocks) != len(got.blocks) || len(again.aliases) != len(got.aliases) {
				t.Fatalf("%+v comes back as %+v, %v", got, again, err)
			}
		} else if !errors.Is(err, errFooter) && !errors.Is(err, errValue) {
			t.Fatalf("unexpected error %v", err)
		}
		// As a whole segment, which it hardly ever is.
		if got, err := readFooter(bytes.NewReader(b), int64(len(b))); err == nil {
			for _, blk := range got.blocks {
				if blk.off+blk.length > int64(len(b)) {
					t.Fatalf("block at %d of %d bytes in a segment of %d", blk.off, blk.length, len(b))
				}
			}
		}
		if _, _, err := checkFooters(bytes.NewReader(b), int64(len(b))); err != nil {
			t.Fatalf("a segment of %d bytes in memory can't be read: %v", len(b), err)
		}
	})
}

func FuzzPackRecord(f *testing.F) {
	blk := looseBlock(3)
	rec := append(appendBlockHead(nil, blk.Cid(), len(blk.RawData()), false), blk.RawData()...)
	all := bytes.Clone(rec)
	for _, ft := range []fact{
		{typ: recordFile, at: 1, file: dagOf(1).File},
		{typ: recordAlias, at: 2, key: "url:x", alias: Alias{Root: blk.Cid(), Meta: []byte("m")}},
		{typ: recordPin, at: 3, pin: Pin{Root: blk.Cid(), Name: "n", Created: time.Unix(0, 5)}},
		{typ: recordPin, at: 3, pin: Pin{Root: blk.Cid(), Owner: "o", Expires: time.Unix(0, 6), Created: time.Unix(0, 5)}},
		{typ: recordUnpin, at: 4, pin: Pin{Root: blk.Cid(), Name: "n"}},
		{typ: recordGone, at: 5, gone: 77},
	} {
		f.Add(ft.record())
		all = append(all, ft.record()...)
	}
	f.Add(all)
	f.Add(append(append(bytes.Clone(rec[:40]), 0, 0, 0), all...)) // torn, then whole
	f.Add(append(appendHead(nil, recordDead, nil, 50, nil), make([]byte, 60)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		scan := packScanner{r: bytes.NewReader(b), id: 2, end: int64(len(b))}
		var end int64
		for {
			e, err := scan.next(context.Background())
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if e.off < end || e.size < packHeader || e.off+e.size > int64(len(b)) || e.lost != e.off-end {
				t.Fatalf("record of %d bytes at %d after %d lost, in a pack of %d read up to %d", e.size, e.off, e.lost, len(b), end)
			}
			end = e.off + e.size
			switch e.typ {
			case recordBlock, recordPrivate:
				if e.at.off < e.off || e.at.end() != end || e.at.length > maxBlock || !e.cid.Defined() {
					t.Fatalf("block %s at %+v of a record at %d", e.cid, e.at, e.off)
				}
				head := appendBlockHead(nil, e.cid, int(e.at.length), e.typ == recordPrivate)
				if !bytes.Equal(head, b[e.off:e.at.off]) {
					t.Fatalf("head %x comes back as %x", b[e.off:e.at.off], head)
				}
			case recordDead:
			default:
				fuzzFact(t, e)
			}
		}
	})
}

func fuzzFact(t *testing.T, e packEntry) {
	t.Helper()
	got, err := decodeFact(e.typ, e.fact)
	if err != nil {
		return
	}
	h, ok := parseHead(got.record())
	if !ok {
		t.Fatalf("%+v makes no record", got)
	}
	again, err := decodeFact(h.typ, got.record()[h.head():])
	if err != nil || again.file != got.file || again.key != got.key || again.gone != got.gone || again.at != got.at ||
		again.pin.Name != got.pin.Name || again.pin.Root != got.pin.Root || !bytes.Equal(again.alias.Meta, got.alias.Meta) {
		t.Fatalf("%+v comes back as %+v, %v", got, again, err)
	}
}

func FuzzIndexValue(f *testing.F) {
	root := dagOf(1).Root
	f.Add([]byte{keyBlock}, copies{all: []extent{{2, 3, 4}, {5, 6, 4}}}.encode())
	f.Add([]byte{keyBlock}, copies{[]extent{{2, 0, 4}}, true}.encode())
	f.Add(fileKey(root), fileRecord{size: 1, seg: 3, off: 9}.encode())
	f.Add([]byte("f\xef\x00\x30\x00"), []byte{})
	f.Add(aliasKey("url:x"), aliasRecord{Alias{Root: root, Meta: []byte("m")}, 5}.encode())
	f.Add(aliasKey(digestAlias(looseBlock(1).Cid())), []byte{})
	f.Add(pinKey(root, "n"), encodePin(Pin{Root: root, Name: "n"}))
	f.Add(pinKey(root, "n"), encodePin(Pin{Root: root, Name: "n", Owner: "o", Expires: time.Unix(9, 0)}))
	f.Add(segmentKey(7), segmentRecord{kind: fileSegment, state: segmentOpen, size: 9, file: fileKey(root)}.encode())
	f.Add(partialKey("n"), partialRecord{id: 5, at: 7, size: 9, kept: 3, state: []byte("s")}.encode())
	f.Add(keptKey(5, 9), encodeLeaves([]placedBlock{{root, 9, 3}, {looseBlock(1).Cid(), 12, 4}}))
	f.Add(useKey(segmentUse(7)), use{5, 9}.encode())
	f.Fuzz(func(t *testing.T, key, value []byte) {
		fuzzPartial(t, key, value)
		if u, err := decodeUse(value); err == nil {
			if again, err := decodeUse(u.encode()); err != nil || again != u {
				t.Fatalf("%+v comes back as %+v, %v", u, again, err)
			}
		}
		if known, err := decodeCopies(value); err == nil {
			again, err := decodeCopies(known.encode())
			if err != nil || !slices.Equal(again.all, known.all) || again.private != known.private || len(known.all) > maxCopies {
				t.Fatalf("%+v comes back as %+v, %v", known, again, err)
			}
			for _, e := range known.all {
				if e.off < 0 || e.length < 0 || e.end() < 0 || e.length > maxBlock {
					t.Fatalf("impossible place %+v", e)
				}
			}
		}
		if r, err := decodeFileRecord(value); err == nil {
			if again, err := decodeFileRecord(r.encode()); err != nil || again != r || r.size < 0 || r.off < 0 {
				t.Fatalf("%+v comes back as %+v, %v", r, again, err)
			}
		}
		if r, err := decodeAliasRecord(key, value); err == nil && !r.Root.Defined() {
			t.Fatalf("alias without root from %x, %x", key, value)
		}
		if p, err := decodePin(value); err == nil {
			again, err := decodePin(encodePin(p))
			if err != nil || again.Root != p.Root || again.Name != p.Name || !again.Created.Equal(p.Created) || again.Owner != p.Owner || !again.Expires.Equal(p.Expires) {
				t.Fatalf("%+v comes back as %+v, %v", p, again, err)
			}
		}
		if r, err := decodeSegmentRecord(value); err == nil && r.size < 0 {
			t.Fatalf("segment of %d bytes", r.size)
		}
		if c, err := rootOfFileKey(key); err == nil && !bytes.Equal(fileKey(c), key) {
			t.Fatalf("file key %x comes back as %x", key, fileKey(c))
		}
		if id, ok := parseSegmentName(string(key)); ok && segmentName(id) != string(key) {
			t.Fatalf("name %q is that of another segment", key)
		}
		if v, ok := parseVersion(value); ok && v < 0 {
			t.Fatalf("version %d", v)
		}
	})
}

func fuzzPartial(t *testing.T, key, value []byte) {
	t.Helper()
	if r, err := decodePartial(value); err == nil {
		again, err := decodePartial(r.encode())
		if err != nil || again.id != r.id || again.at != r.at || again.size != r.size || again.kept != r.kept || !bytes.Equal(again.state, r.state) {
			t.Fatalf("%+v comes back as %+v, %v", r, again, err)
		}
		if r.kept <= 0 || r.kept > r.size || kindOf(r.id) != fileSegment {
			t.Fatalf("impossible partial file %+v", r)
		}
	}
	if id, off, err := parseKeptKey(key); err == nil && (off < 0 || !bytes.Equal(keptKey(id, off), key)) {
		t.Fatalf("key %x of leaves comes back as %x", key, keptKey(id, off))
	}
	if all, err := decodeLeaves(value, 7); err == nil {
		again, err := decodeLeaves(encodeLeaves(all), 7)
		if err != nil || !slices.Equal(again, all) {
			t.Fatalf("%+v comes back as %+v, %v", all, again, err)
		}
		end := int64(7)
		for _, l := range all {
			if l.off != end || l.length <= 0 || l.length > maxBlock || !l.cid.Defined() {
				t.Fatalf("impossible leaf %+v behind byte %d", l, end)
			}
			end += l.length
		}
	}
}

func FuzzNodeLinks(f *testing.F) {
	f.Add(dagOf(1).node.RawData())
	f.Add([]byte{0x12, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, c := range dagpb.Links(cid.NewCidV1(cid.DagProtobuf, dagOf(1).Root.Hash()), b) {
			if !c.Defined() {
				t.Fatal("undefined link")
			}
		}
	})
}

// TestNodeLinks holds that the store reads links as they were written.
func TestNodeLinks(t *testing.T) {
	d := dagOf(4)
	links := dagpb.Links(d.Root, d.node.RawData())
	if len(links) != len(d.leaves) {
		t.Fatalf("%d links, want %d", len(links), len(d.leaves))
	}
	for i, leaf := range d.leaves {
		if links[i] != leaf.Cid() {
			t.Errorf("link %d is %s, want %s", i, links[i], leaf.Cid())
		}
	}
	if links := dagpb.Links(d.leaves[0].Cid(), d.node.RawData()); links != nil {
		t.Errorf("a raw block links to %v", links)
	}
}
