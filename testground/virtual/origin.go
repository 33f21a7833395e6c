package virtual

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peerstore"

	"github.com/hypha-node/hypha-node/testground/cases"
)

// webProtocol carries the connections of HTTP over the simulated links: sockets of the
// system stand outside of virtual time.
const webProtocol = "/testground/web/1"

// origin is a web server with a link of its own, that has the content of a case.
type origin struct {
	host   host.Host
	wire   *wire
	closed func() error
	listen *pipes
	server *http.Server
	ended  chan error
}

// newOrigin starts the origin of a case.
func (n *links) newOrigin(c cases.Case) (*origin, error) {
	o := &origin{listen: newPipes(), ended: make(chan error, 1)}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	if o.host, o.wire, o.closed, err = n.newHost(c.Instances(), key, c.Origin); err != nil {
		return nil, err
	}
	content, err := io.ReadAll(cases.Noise(c.Size))
	if err != nil {
		return nil, errors.Join(err, o.closed())
	}
	o.host.SetStreamHandler(webProtocol, func(st network.Stream) {
		select {
		case o.listen.conns <- webConn{st}:
		case <-o.listen.ended:
			st.Reset() //nolint:errcheck // it is of no use
		}
	})
	o.server = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		http.ServeContent(w, r, "content", time.Time{}, bytes.NewReader(content))
	})}
	go func() { o.ended <- o.server.Serve(o.listen) }()
	return o, nil
}

// url is where the content is.
func (o *origin) url() string { return "http://192.0.2.1/content" }

// dialer has a node's HTTP connections made to the origin, whatever the address.
func (o *origin) dialer(h host.Host) func(ctx context.Context, network, address string) (net.Conn, error) {
	if o == nil {
		return nil
	}
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		h.Peerstore().AddAddrs(o.host.ID(), o.host.Addrs(), peerstore.PermanentAddrTTL)
		st, err := h.NewStream(ctx, o.host.ID(), webProtocol)
		if err != nil {
			return nil, err
		}
		return webConn{st}, nil
	}
}

// close ends the server.
func (o *origin) close() error {
	err := o.server.Close()
	if ended := <-o.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return errors.Join(err, o.closed())
}

// webConn is a stream as a connection.
type webConn struct{ network.Stream }

// LocalAddr implements net.Conn.
func (c webConn) LocalAddr() net.Addr { return address{} }

// RemoteAddr implements net.Conn.
func (c webConn) RemoteAddr() net.Addr { return address{} }

// Close implements net.Conn: nothing is sent or received any more.
func (c webConn) Close() error {
	if err := c.CloseWrite(); err != nil {
		return c.Reset()
	}
	return c.CloseRead()
}
