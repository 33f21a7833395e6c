package swarm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	ma "github.com/multiformats/go-multiaddr"
)

// ID names the protocol and its version.
const ID = protocol.ID("/hypha/fetch/1")

// An asker sends frames: length in four bytes, big endian, of what follows; one byte
// that says what it is; and a body.
//
//	hello   root CID                 the first frame
//	peek    root CID                 the same of who keeps nothing: nobody is told of it
//	want    number, spans            blocks are numbered from it on, in their order
//	cancel  runs of numbers
//	mode    1: others are asked, too: blocks may be held back. 0: not. Also a sign of life
//	packs   ways to pack blocks, a byte each, that the asker unpacks. 1: zstd
//
// A span is a byte 0 and a CID: that block; or a byte 1, the CID of a node, and the
// first and the count of its links: those blocks.
const (
	askHello = iota + 1
	askWant
	askCancel
	askMode
	askPeek
	askPacks
)

// A holder answers with frames whose head is eight bytes: what it is, three bytes of
// length of the body, and four bytes number, big endian.
//
//	state  one byte: what is here of the root
//	have   node CID, first link, bitmap: these links are here, beside those before
//	peers  who asks for the same root, with addresses
//	block  of that number
//	none   of that number: it is not here, or not for everybody
//	gift   a block that will be wanted
//	busy   there is something to send, but not yet
//	held   of that number: somebody else was given it, and may be asked
//	fed    1 as number: who tells is given blocks by somebody who has all; 0: no more
//	packed of that number: length of the block in four bytes, and a frame of zstd (RFC 8878)
const (
	tellState = iota + 1
	tellHave
	tellPeers
	tellBlock
	tellNone
	tellGift
	tellBusy
	tellHeld
	tellPacked
	tellFed
)

// What a holder has of a root.
const (
	stateNone = iota
	statePart
	stateWhole
)

const (
	headBytes = 8
	maxFrame  = 64 << 10 // bytes, of anything but a block
	maxBlock  = 2 << 20  // bytes
	maxQueue  = 4096     // wants of one stream that are not answered
	maxTold   = 32       // peers in one frame
	maxAddrs  = 8        // of one peer
)

// errFrame says that a peer sent what it must not.
var errFrame = errors.New("malformed frame")

// span is one block, or a range of the links of a node.
type span struct {
	c    cid.Cid
	from int
	n    int // 0: the block c itself
}

// runOf is a range of numbers.
type runOf struct{ first, n uint32 }

// newFrame begins a frame of an asker; endFrame ends it.
func newFrame(kind byte) []byte { return []byte{0, 0, 0, 0, kind} }

func endFrame(b []byte) []byte {
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// readFrame reads a frame of an asker into buf, which grows as needed.
func readFrame(r io.Reader, buf []byte) (kind byte, body, grown []byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, buf, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 1 || n > maxFrame {
		return 0, nil, buf, fmt.Errorf("%d bytes: %w", n, errFrame)
	}
	if uint32(cap(buf)) < n {
		buf = make([]byte, n)
	}
	if _, err := io.ReadFull(r, buf[:n]); err != nil {
		return 0, nil, buf, err
	}
	return buf[0], buf[1:n], buf, nil
}

// helloFrame begins a stream; kind is askHello or askPeek.
func helloFrame(kind byte, root cid.Cid) []byte {
	return endFrame(append(newFrame(kind), root.Bytes()...))
}

func parseHello(b []byte) (cid.Cid, error) {
	n, c, err := cid.CidFromBytes(b)
	if err != nil || n != len(b) {
		return cid.Undef, fmt.Errorf("hello: %w", errFrame)
	}
	return c, nil
}

func packsFrame() []byte { return endFrame(append(newFrame(askPacks), packZstd)) }

func modeFrame(shared bool) []byte {
	b := append(newFrame(askMode), 0)
	if shared {
		b[len(b)-1] = 1
	}
	return endFrame(b)
}

// wantFrame asks for spans; the blocks are numbered from first on.
func wantFrame(first uint32, spans []span) []byte {
	b := binary.BigEndian.AppendUint32(newFrame(askWant), first)
	for _, s := range spans {
		if s.n == 0 {
			b = append(append(b, 0), s.c.Bytes()...)
			continue
		}
		b = append(append(b, 1), s.c.Bytes()...)
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(s.from)), uint64(s.n))
	}
	return endFrame(b)
}

func parseWant(b []byte) (first uint32, spans []span, err error) {
	if len(b) < 4 {
		return 0, nil, fmt.Errorf("want: %w", errFrame)
	}
	first, b = binary.BigEndian.Uint32(b), b[4:]
	blocks := 0
	for len(b) > 0 {
		kind := b[0]
		n, c, err := cid.CidFromBytes(b[1:])
		if err != nil || kind > 1 {
			return 0, nil, fmt.Errorf("want: %w", errFrame)
		}
		s := span{c: c}
		b = b[1+n:]
		if kind == 1 {
			if s.from, b, err = takeInt(b, maxBlock); err == nil {
				s.n, b, err = takeInt(b, maxQueue)
			}
			if err != nil || s.n == 0 {
				return 0, nil, fmt.Errorf("want: %w", errFrame)
			}
		}
		if blocks += max(s.n, 1); blocks > maxQueue {
			return 0, nil, fmt.Errorf("want of %d blocks: %w", blocks, errFrame)
		}
		spans = append(spans, s)
	}
	return first, spans, nil
}

// takeInt takes a number of at most most off b.
func takeInt(b []byte, most uint64) (int, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 || v > most {
		return 0, nil, errFrame
	}
	return int(v), b[n:], nil
}

func cancelFrame(runs []runOf) []byte {
	b := newFrame(askCancel)
	for _, r := range runs {
		b = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, r.first), r.n)
	}
	return endFrame(b)
}

func parseCancel(b []byte) ([]runOf, error) {
	if len(b)%8 != 0 {
		return nil, fmt.Errorf("cancel: %w", errFrame)
	}
	runs := make([]runOf, 0, len(b)/8)
	for ; len(b) > 0; b = b[8:] {
		runs = append(runs, runOf{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])})
	}
	return runs, nil
}

// putHead writes the head of an answer.
func putHead(b *[headBytes]byte, kind byte, n int, number uint32) {
	binary.BigEndian.PutUint32(b[:], uint32(kind)<<24|uint32(n))
	binary.BigEndian.PutUint32(b[4:], number)
}

// parseHead reads the head of an answer and refuses lengths that can't be.
func parseHead(b [headBytes]byte) (kind byte, n int, number uint32, err error) {
	v := binary.BigEndian.Uint32(b[:])
	kind, n = byte(v>>24), int(v&0xffffff)
	most := maxFrame
	if kind == tellBlock || kind == tellGift || kind == tellPacked {
		most = maxBlock
	}
	if n > most {
		return 0, 0, 0, fmt.Errorf("%d bytes: %w", n, errFrame)
	}
	return kind, n, binary.BigEndian.Uint32(b[4:]), nil
}

// haveBody says which links of a node, from one on, are here.
func haveBody(node cid.Cid, from int, bits bitmap) []byte {
	return append(binary.AppendUvarint(node.Bytes(), uint64(from)), bits...)
}

// parseHave reads what haveBody wrote; from is a multiple of 8.
func parseHave(b []byte) (node cid.Cid, from int, bits bitmap, err error) {
	n, c, err := cid.CidFromBytes(b)
	if err != nil {
		return cid.Undef, 0, nil, fmt.Errorf("have: %w", errFrame)
	}
	from, rest, err := takeInt(b[n:], maxBlock)
	if err != nil || from%8 != 0 {
		return cid.Undef, 0, nil, fmt.Errorf("have: %w", errFrame)
	}
	return c, from, bitmap(rest), nil
}

func peersBody(all []peer.AddrInfo) []byte {
	var b []byte
	for _, p := range all[:min(len(all), maxTold)] {
		b = appendBytes(b, []byte(p.ID))
		addrs := p.Addrs[:min(len(p.Addrs), maxAddrs)]
		b = binary.AppendUvarint(b, uint64(len(addrs)))
		for _, a := range addrs {
			b = appendBytes(b, a.Bytes())
		}
	}
	return b
}

func appendBytes(b, s []byte) []byte { return append(binary.AppendUvarint(b, uint64(len(s))), s...) }

func takeBytes(b []byte) (s, rest []byte, err error) {
	n, b, err := takeInt(b, maxFrame)
	if err != nil || n > len(b) {
		return nil, nil, errFrame
	}
	return b[:n], b[n:], nil
}

func parsePeers(b []byte) ([]peer.AddrInfo, error) {
	bad := fmt.Errorf("peers: %w", errFrame)
	var all []peer.AddrInfo
	for len(b) > 0 {
		raw, rest, err := takeBytes(b)
		if err != nil || len(all) == maxTold {
			return nil, bad
		}
		id, err := peer.IDFromBytes(raw)
		if err != nil {
			return nil, bad
		}
		n, rest, err := takeInt(rest, maxAddrs)
		if err != nil {
			return nil, bad
		}
		info := peer.AddrInfo{ID: id}
		for range n {
			if raw, rest, err = takeBytes(rest); err != nil {
				return nil, bad
			}
			a, err := ma.NewMultiaddrBytes(raw)
			if err != nil {
				return nil, bad
			}
			info.Addrs = append(info.Addrs, a)
		}
		all, b = append(all, info), rest
	}
	return all, nil
}
