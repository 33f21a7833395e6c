package httpconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
)

// UseDial makes every connection of a client with dial.
func (c *Client) UseDial(dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	c.each(func(t *http.Transport) { t.DialContext = dial })
}

// Trust accepts certificates that the pool has signed.
func (c *Client) Trust(pool *x509.CertPool) {
	c.each(func(t *http.Transport) { t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12} })
}

// each changes both transports.
func (c *Client) each(change func(*http.Transport)) {
	change(c.jobs)
	change(c.own)
}
