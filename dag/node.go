package dag

import (
	"context"
	"fmt"

	"github.com/ipfs/boxo/verifcid"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"
	mh "github.com/multiformats/go-multihash"
	"google.golang.org/protobuf/encoding/protowire"
)

// link is one link of a dag-pb block.
type link struct {
	cid  cid.Cid
	name string
	size uint64 // bytes of everything below, as claimed; never trusted
}

// UnixFS types; https://specs.ipfs.tech/unixfs/#data
const (
	fsRaw = iota
	fsDir
	fsFile
	fsMetadata
	fsSymlink
	fsShard
)

// node is a decoded block: dag-pb with the UnixFS message inside, or raw bytes.
// For files, decodeNode has checked that size is the sum of data and blocks and
// that links and blocks correspond.
type node struct {
	kind   uint64 // one of fs…
	data   []byte // content of a leaf, target of a symlink, bit field of a shard
	size   int64  // bytes of content of a file
	blocks []int64
	links  []link
	hash   uint64 // of a shard
	fanout uint64 // of a shard
}

func (n *node) typ() Type {
	switch n.kind {
	case fsDir, fsShard:
		return TypeDir
	case fsSymlink:
		return TypeSymlink
	}
	return TypeFile
}

// malformed returns an error about the block c that wraps ErrMalformed.
func malformed(c cid.Cid, format string, args ...any) error {
	return fmt.Errorf("block %s: %w: %s", c, ErrMalformed, fmt.Sprintf(format, args...))
}

// checkCID tells whether c is of a kind that this package reads: raw or dag-pb,
// hashed with one of the functions that IPFS nodes allow.
func checkCID(c cid.Cid) error {
	if !c.Defined() {
		return fmt.Errorf("%w: no CID", ErrMalformed)
	}
	if codec := c.Type(); codec != cid.Raw && codec != cid.DagProtobuf {
		return malformed(c, "codec %#x is neither raw nor dag-pb", codec)
	}
	if err := verifcid.ValidateCid(verifcid.DefaultAllowlist, c); err != nil {
		return malformed(c, "%v", err)
	}
	return nil
}

// getBlock returns the verified bytes of a block of bounded size. What an
// identity CID holds is in the CID itself and is never asked for.
func getBlock(ctx context.Context, src Getter, c cid.Cid) ([]byte, error) {
	if err := checkCID(c); err != nil {
		return nil, err
	}
	if data, ok := identity(c); ok {
		return data, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	blk, err := src.Get(ctx, c)
	if err != nil {
		return nil, blockErr(c, err)
	}
	return checkBlock(c, blk)
}

// checkBlock returns the bytes of a block that answers a request for c.
func checkBlock(c cid.Cid, blk blocks.Block) ([]byte, error) {
	if got := blk.Cid(); !got.Equals(c) && string(got.Hash()) != string(c.Hash()) {
		return nil, fmt.Errorf("block %s: the source sent %s", c, got)
	}
	if n := len(blk.RawData()); n > maxBlock {
		return nil, fmt.Errorf("block %s of %d bytes: %w", c, n, ErrTooLarge)
	}
	return blk.RawData(), nil
}

// blockErr names the block in an error of a Getter that does not.
func blockErr(c cid.Cid, err error) error {
	if ipld.IsNotFound(err) {
		return err // its message names the CID
	}
	return fmt.Errorf("block %s: %w", c, err)
}

// identity returns the bytes inside an identity CID.
func identity(c cid.Cid) ([]byte, bool) {
	if c.Prefix().MhType != mh.IDENTITY {
		return nil, false
	}
	d, err := mh.Decode(c.Hash())
	if err != nil {
		return nil, false
	}
	return d.Digest, true
}

// getNode returns a decoded block.
func getNode(ctx context.Context, src Getter, c cid.Cid) (*node, error) {
	data, err := getBlock(ctx, src, c)
	if err != nil {
		return nil, err
	}
	return decodeNode(c, data)
}

// decodeNode decodes the block c. The node's data is part of b.
func decodeNode(c cid.Cid, b []byte) (*node, error) {
	if c.Type() == cid.Raw {
		return &node{kind: fsRaw, data: b, size: int64(len(b))}, nil
	}
	links, data, err := decodePB(b)
	if err != nil {
		return nil, malformed(c, "dag-pb: %v", err)
	}
	n, err := decodeFS(data)
	if err != nil {
		return nil, malformed(c, "UnixFS: %v", err)
	}
	n.links = links
	if err := n.check(); err != nil {
		return nil, malformed(c, "%v", err)
	}
	return n, nil
}

// check holds the claims of a node against each other.
func (n *node) check() error {
	switch n.kind {
	case fsDir:
		return nil
	case fsShard:
		return n.checkShard()
	case fsSymlink:
		if len(n.links) > 0 || len(n.blocks) > 0 {
			return fmt.Errorf("symlink with %d links", len(n.links))
		}
		return nil
	case fsFile, fsRaw:
	default:
		return fmt.Errorf("type %d", n.kind)
	}
	if len(n.links) != len(n.blocks) {
		return fmt.Errorf("%d links, %d block sizes", len(n.links), len(n.blocks))
	}
	total := int64(len(n.data))
	for i, size := range n.blocks {
		if size <= 0 || size > maxFile || total > maxFile-size {
			return fmt.Errorf("link %d claims %d bytes", i, size)
		}
		total += size
	}
	if n.size < 0 { // not recorded: legal for a leaf
		n.size = total
	}
	if n.size != total {
		return fmt.Errorf("claims %d bytes, its parts claim %d", n.size, total)
	}
	return nil
}

// errWire is the error for bytes that are no protobuf message.
func errWire(n int) error { return protowire.ParseError(n) }

// decodePB decodes a dag-pb block as strictly as the specification asks
// readers to be; https://ipld.io/specs/codecs/dag-pb/spec/
func decodePB(b []byte) (links []link, data []byte, err error) {
	state := 0 // 1: in links, 2: links ended by data
	hasData := false
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, nil, errWire(n)
		}
		if typ != protowire.BytesType {
			return nil, nil, fmt.Errorf("field %d of wire type %d", num, typ)
		}
		field, m := protowire.ConsumeBytes(b[n:])
		if m < 0 {
			return nil, nil, errWire(m)
		}
		b = b[n+m:]
		switch {
		case num == 1 && !hasData:
			data, hasData = field, true
			if state == 1 {
				state = 2
			}
		case num == 2 && state < 2:
			l, err := decodeLink(field)
			if err != nil {
				return nil, nil, fmt.Errorf("link %d: %w", len(links), err)
			}
			links, state = append(links, l), 1
		default:
			return nil, nil, fmt.Errorf("field %d out of place", num)
		}
	}
	return links, data, nil
}

// decodeLink decodes one link: hash, name and size in this order, the hash only
// being required.
func decodeLink(b []byte) (l link, err error) {
	last := protowire.Number(0)
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return l, errWire(n)
		}
		if num <= last || num > 3 {
			return l, fmt.Errorf("field %d out of place", num)
		}
		last, b = num, b[n:]
		if want := protowire.BytesType; num < 3 && typ != want || num == 3 && typ != protowire.VarintType {
			return l, fmt.Errorf("field %d of wire type %d", num, typ)
		}
		if num == 3 {
			l.size, n = protowire.ConsumeVarint(b)
		} else {
			var field []byte
			if field, n = protowire.ConsumeBytes(b); n >= 0 && num == 1 {
				if l.cid, err = cid.Cast(field); err != nil {
					return l, fmt.Errorf("CID: %w", err)
				}
			} else if n >= 0 {
				l.name = string(field)
			}
		}
		if n < 0 {
			return l, errWire(n)
		}
		b = b[n:]
	}
	if !l.cid.Defined() {
		return l, fmt.Errorf("without a CID")
	}
	return l, nil
}

// decodeFS decodes a UnixFS message. Fields that are not content (mode, mtime,
// unknown ones) are skipped. A size that is not recorded is -1.
func decodeFS(b []byte) (*node, error) {
	n := &node{size: -1}
	seen := uint64(0)
	for len(b) > 0 {
		num, typ, k := protowire.ConsumeTag(b)
		if k < 0 {
			return nil, errWire(k)
		}
		b = b[k:]
		if num > protowire.MaxValidNumber {
			return nil, fmt.Errorf("field %d", num)
		}
		if num <= 6 && num != 4 {
			if seen&(1<<num) != 0 {
				return nil, fmt.Errorf("field %d twice", num)
			}
			seen |= 1 << num
		}
		k, err := n.field(num, typ, b)
		if err != nil {
			return nil, err
		}
		if k < 0 {
			return nil, errWire(k)
		}
		b = b[k:]
	}
	if seen&(1<<1) == 0 {
		return nil, fmt.Errorf("no type")
	}
	return n, nil
}

// field takes one field of a UnixFS message from the front of b and returns
// its length, negative as protowire's errors are.
func (n *node) field(num protowire.Number, typ protowire.Type, b []byte) (int, error) {
	want := protowire.VarintType
	switch num {
	case 2:
		want = protowire.BytesType
	case 4:
		if typ == protowire.BytesType {
			return n.packed(b)
		}
	case 1, 3, 5, 6:
	default:
		return protowire.ConsumeFieldValue(num, typ, b), nil
	}
	if typ != want {
		return 0, fmt.Errorf("field %d of wire type %d", num, typ)
	}
	if num == 2 {
		field, k := protowire.ConsumeBytes(b)
		n.data = field
		return k, nil
	}
	v, k := protowire.ConsumeVarint(b)
	if num <= 4 && v > uint64(maxFile) {
		return 0, fmt.Errorf("field %d is %d", num, v)
	}
	switch num {
	case 1:
		n.kind = v
	case 3:
		n.size = int64(v)
	case 4:
		n.blocks = append(n.blocks, int64(v))
	case 5:
		n.hash = v
	case 6:
		n.fanout = v
	}
	return k, nil
}

// packed takes block sizes in the packed form, which readers must accept.
func (n *node) packed(b []byte) (int, error) {
	field, k := protowire.ConsumeBytes(b)
	for k >= 0 && len(field) > 0 {
		v, m := protowire.ConsumeVarint(field)
		if m < 0 {
			return m, nil
		}
		if v > uint64(maxFile) {
			return 0, fmt.Errorf("block size is %d", v)
		}
		n.blocks = append(n.blocks, int64(v))
		field = field[m:]
	}
	return k, nil
}
