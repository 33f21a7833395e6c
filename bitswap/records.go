package bitswap

import (
	"context"
	"net"
	"sync"

	ci "github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	tptu "github.com/libp2p/go-libp2p/p2p/net/upgrader"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
)

const (
	readBulk  = 128 << 10 // bytes that are read at once while much comes
	readLeast = 8 << 10   // bytes of a read that was filled, after which much comes
	writeMost = 256 << 10 // bytes that are gathered at most
)

// batchedTLS is libp2p's TLS over connections that are written to and read from by
// many records at a time. crypto/tls makes a system call for each record of 16 KiB,
// and for the few bytes by which a message is longer than its records; each of them
// may wake who reads at the other end.
type batchedTLS struct {
	*libp2ptls.Transport

	aheads *sync.Pool // of *readAhead, of all connections: an idle one has none
}

var _ sec.SecureTransport = batchedTLS{}

func newBatchedTLS(id protocol.ID, key ci.PrivKey, muxers []tptu.StreamMuxer) (batchedTLS, error) {
	t, err := libp2ptls.New(id, key, muxers)
	return batchedTLS{t, newReadAheads()}, err
}

func (t batchedTLS) SecureInbound(ctx context.Context, insecure net.Conn, p peer.ID) (sec.SecureConn, error) {
	raw := &batchedConn{Conn: insecure, aheads: t.aheads}
	c, err := t.Transport.SecureInbound(ctx, raw, p)
	return withBatches(c, raw, err)
}

func (t batchedTLS) SecureOutbound(ctx context.Context, insecure net.Conn, p peer.ID) (sec.SecureConn, error) {
	raw := &batchedConn{Conn: insecure, aheads: t.aheads}
	c, err := t.Transport.SecureOutbound(ctx, raw, p)
	return withBatches(c, raw, err)
}

func withBatches(c sec.SecureConn, raw *batchedConn, err error) (sec.SecureConn, error) {
	if err != nil {
		return nil, err
	}
	return secureConn{c, raw}, nil
}

// secureConn has the records of each Write leave together.
type secureConn struct {
	sec.SecureConn
	raw *batchedConn
}

func (c secureConn) Write(p []byte) (int, error) {
	c.raw.gather()
	n, err := c.SecureConn.Write(p)
	if ferr := c.raw.leave(); err == nil && ferr != nil {
		return 0, ferr
	}
	return n, err
}

// batchedConn gathers what is written between gather and leave, and reads ahead while
// much comes. Reads are of one goroutine at a time, as those of crypto/tls are.
type batchedConn struct {
	net.Conn

	mu       sync.Mutex
	gathered []byte
	writers  int   // that are between gather and leave
	broken   error // of a write: what follows would be out of place

	bulk   bool // the last read was filled
	ahead  *readAhead
	aheads *sync.Pool // of *readAhead
}

// readAhead is what was read and not taken yet.
type readAhead struct {
	buf  [readBulk]byte
	left []byte // of buf
}

func newReadAheads() *sync.Pool { return &sync.Pool{New: func() any { return new(readAhead) }} }

func (c *batchedConn) gather() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writers++
}

// leave ends what gather began, and writes what there is.
func (c *batchedConn) leave() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writers--
	return c.flush()
}

// flush writes what is gathered; mu is held.
func (c *batchedConn) flush() error {
	if c.broken == nil && len(c.gathered) > 0 {
		_, c.broken = c.Conn.Write(c.gathered)
	}
	c.gathered = c.gathered[:0]
	return c.broken
}

func (c *batchedConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.broken != nil {
		return 0, c.broken
	}
	if c.writers == 0 {
		return c.Conn.Write(p)
	}
	if len(c.gathered)+len(p) > writeMost {
		if err := c.flush(); err != nil {
			return 0, err
		}
	}
	c.gathered = append(c.gathered, p...)
	return len(p), nil
}

func (c *batchedConn) Read(p []byte) (n int, err error) {
	if c.ahead == nil {
		if !c.bulk {
			n, err = c.Conn.Read(p)
			c.bulk = n == len(p) && n >= readLeast
			return n, err
		}
		a := c.aheads.Get().(*readAhead) //nolint:errcheck,forcetypeassert // nothing else is put there
		n, err = c.Conn.Read(a.buf[:])
		if c.bulk = n > len(p); n == 0 {
			c.aheads.Put(a)
			return 0, err
		}
		a.left, c.ahead = a.buf[:n], a
	}
	n = copy(p, c.ahead.left)
	if c.ahead.left = c.ahead.left[n:]; len(c.ahead.left) == 0 {
		c.aheads.Put(c.ahead)
		c.ahead = nil
	}
	return n, nil
}
