package bitswap

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"testing"
)

// scripted is a connection that notes writes and gives what it has in pieces.
type scripted struct {
	net.Conn
	wrote [][]byte
	fails error
	gives []byte
	piece int
	reads int
}

func (s *scripted) Write(p []byte) (int, error) {
	if s.fails != nil {
		return 0, s.fails
	}
	s.wrote = append(s.wrote, bytes.Clone(p))
	return len(p), nil
}

func (s *scripted) Read(p []byte) (int, error) {
	if len(s.gives) == 0 {
		return 0, io.EOF
	}
	s.reads++
	n := copy(p, s.gives[:min(len(s.gives), s.piece)])
	s.gives = s.gives[n:]
	return n, nil
}

// TestBatchedWrites has what is written together leave together, and nothing behind a
// write that failed.
func TestBatchedWrites(t *testing.T) {
	raw := &scripted{}
	c := &batchedConn{Conn: raw, aheads: newReadAheads()}
	write := func(s string) error { _, err := c.Write([]byte(s)); return err }
	if err := write("alone"); err != nil || len(raw.wrote) != 1 {
		t.Fatalf("%d writes, %v", len(raw.wrote), err)
	}
	c.gather()
	if err := errors.Join(write("a"), write("b"), write("c")); err != nil || len(raw.wrote) != 1 {
		t.Fatalf("%d writes before the last, %v", len(raw.wrote), err)
	}
	if err := c.leave(); err != nil || string(bytes.Join(raw.wrote, []byte("|"))) != "alone|abc" {
		t.Fatalf("%q was written, %v", raw.wrote, err)
	}
	c.gather()
	big := string(make([]byte, writeMost-1))
	if err := errors.Join(write(big), write("de")); err != nil || len(raw.wrote) != 3 {
		t.Fatalf("%d writes, %v: more was gathered than is allowed", len(raw.wrote), err)
	}
	raw.fails = io.ErrClosedPipe
	if err := c.leave(); !errors.Is(err, raw.fails) {
		t.Fatalf("a write that failed: %v", err)
	}
	raw.fails = nil
	c.gather()
	if err := write("f"); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a write behind it: %v", err)
	}
	if err := c.leave(); !errors.Is(err, io.ErrClosedPipe) || len(raw.wrote) != 3 {
		t.Errorf("%d writes, %v", len(raw.wrote), err)
	}
}

// TestBatchedReads reads the same bytes however they come and are taken, in fewer
// calls where much comes.
func TestBatchedReads(t *testing.T) {
	content := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{}).Read(content)
	for _, piece := range []int{1, 700, readLeast, 17 << 10, readBulk, 1 << 20} {
		raw := &scripted{gives: content[:min(len(content), 1000*piece)], piece: piece}
		want := raw.gives
		c := &batchedConn{Conn: raw, aheads: newReadAheads()}
		var got []byte
		buf := make([]byte, 16<<10)
		for i := 0; ; i++ {
			n, err := c.Read(buf[:[]int{5, 16 << 10, 600}[i%3]])
			got = append(got, buf[:n]...)
			if err != nil {
				break
			}
		}
		if !bytes.Equal(got, want) {
			t.Errorf("pieces of %d bytes: other bytes came", piece)
		}
		if c.ahead != nil {
			t.Errorf("pieces of %d bytes: a buffer is left", piece)
		}
		if few := len(content) / readBulk * 3; piece >= readBulk && raw.reads > few {
			t.Errorf("pieces of %d bytes: %d calls, want at most %d", piece, raw.reads, few)
		}
	}
}
