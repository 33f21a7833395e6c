package netguard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
)

// ErrRefused says that an address may not be dialled; errors.Is finds it in a
// RefusedError, also through net.OpError.
var ErrRefused = errors.New("address refused")

// RefusedError names a refused address and the rule that refuses it.
type RefusedError struct {
	Address string // as it was about to be dialled, without a port
	Reason  string // "loopback", "private", …
}

// Error returns "address refused: ADDRESS is REASON".
func (e *RefusedError) Error() string {
	return fmt.Sprintf("%v: %s is %s", ErrRefused, e.Address, e.Reason)
}

// Unwrap returns ErrRefused.
func (e *RefusedError) Unwrap() error { return ErrRefused }

// Policy says which addresses may be dialled: those of the public Internet and
// what is listed here. The zero value allows the public Internet only. It must
// not be changed while it is used; it is safe for concurrent use then.
type Policy struct {
	// Allow lists networks that are allowed although they are not public.
	Allow []netip.Prefix
	// Exempt lists "host:port" endpoints that the operator has set. They are
	// dialled whatever their address is; host names are compared in lower case.
	Exempt []string
}

// Check returns a *RefusedError for an address that may not be dialled. An
// IPv4 address in IPv6 clothes (::ffff:0:0/96) is judged as IPv4. An address
// with a zone names an interface of this machine, so it is never public.
func (p *Policy) Check(addr netip.Addr) error {
	plain := addr.Unmap().WithZone("")
	for _, allowed := range p.Allow {
		if allowed.Contains(plain) {
			return nil
		}
	}
	reason := reserved(plain)
	if reason == "" && addr.Zone() != "" {
		reason = "bound to an interface"
	}
	if reason != "" {
		return &RefusedError{Address: addr.String(), Reason: reason}
	}
	return nil
}

// CheckHost judges the literal host of a URL, for requests that a proxy
// resolves: an address, or a name that means this machine. Other names pass.
func (p *Policy) CheckHost(host string) error {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if addr, err := netip.ParseAddr(host); err == nil {
		return p.Check(addr)
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return p.Check(netip.AddrFrom4([4]byte{127, 0, 0, 1}))
	}
	return nil
}

// Control is a net.Dialer.ControlContext: it sees the address of every attempt
// after name resolution, before the first packet.
func (p *Policy) Control(_ context.Context, _, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return &RefusedError{Address: address, Reason: "no internet address"}
	}
	return p.Check(ap.Addr())
}

// DialContext returns a dial function that applies the policy. A nil policy
// allows everything. The dialer is copied; its Control hooks are replaced.
func (p *Policy) DialContext(d net.Dialer) func(ctx context.Context, network, address string) (net.Conn, error) {
	if p == nil {
		return d.DialContext
	}
	guarded := d
	guarded.Control, guarded.ControlContext = nil, p.Control
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if p.exempt(address) || proxied(ctx, address) {
			return d.DialContext(ctx, network, address)
		}
		return guarded.DialContext(ctx, network, address)
	}
}

// exempt tells whether the operator has set this endpoint.
func (p *Policy) exempt(address string) bool {
	return slices.Contains(p.Exempt, strings.ToLower(address))
}

// proxyKey is the context key of the proxy that a request goes through.
type proxyKey struct{}

// WithProxy marks a request as going through the operator's proxy at address
// ("host:port"), which may be dialled for this request although it is private.
// It returns an error when the target's literal host is refused.
func (p *Policy) WithProxy(ctx context.Context, address, targetHost, targetPort string) (context.Context, error) {
	if p != nil && !p.exempt(net.JoinHostPort(targetHost, targetPort)) {
		if err := p.CheckHost(targetHost); err != nil {
			return nil, err
		}
	}
	return context.WithValue(ctx, proxyKey{}, address), nil
}

// proxied tells whether address is the proxy of the request being dialled.
func proxied(ctx context.Context, address string) bool {
	proxy, ok := ctx.Value(proxyKey{}).(string)
	return ok && proxy == address
}
