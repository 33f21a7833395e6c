package netguard

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCheck(t *testing.T) {
	tests := []struct {
		addr    string
		refused string // part of the reason; "" means allowed
	}{
		{"127.0.0.1", "loopback"},
		{"127.255.255.254", "loopback"},
		{"0.0.0.0", "this network"},
		{"0.1.2.3", "this network"},
		{"10.0.0.1", "private"},
		{"172.16.0.1", "private"},
		{"172.31.255.255", "private"},
		{"172.15.0.1", ""},
		{"172.32.0.1", ""},
		{"192.168.1.1", "private"},
		{"192.169.1.1", ""},
		{"100.64.0.1", "carrier"},
		{"100.100.100.200", "carrier"}, // a metadata service
		{"100.127.255.255", "carrier"},
		{"100.63.0.1", ""},
		{"100.128.0.1", ""},
		{"169.254.169.254", "link-local"}, // a metadata service
		{"192.0.0.192", "assignments"},    // a metadata service
		{"192.0.2.1", "documentation"},
		{"192.0.1.1", ""},
		{"192.88.99.1", "6to4"},
		{"198.18.0.1", "benchmarks"},
		{"198.19.255.255", "benchmarks"},
		{"198.20.0.1", ""},
		{"198.51.100.7", "documentation"},
		{"203.0.113.7", "documentation"},
		{"224.0.0.1", "multicast"},
		{"239.255.255.250", "multicast"},
		{"240.0.0.1", "reserved"},
		{"255.255.255.255", "broadcast"},
		{"1.1.1.1", ""},
		{"8.8.8.8", ""},
		{"223.255.255.254", ""},
		{"::", "unspecified"},
		{"::1", "loopback"},
		{"::2", "outside"},
		{"::127.0.0.1", "outside"},
		{"::ffff:127.0.0.1", "loopback"},
		{"::ffff:7f00:1", "loopback"},
		{"::ffff:10.1.2.3", "private"},
		{"::ffff:8.8.8.8", ""},
		{"::ffff:0:127.0.0.1", "outside"},
		{"64:ff9b::7f00:1", "translator"},
		{"64:ff9b::8.8.8.8", "translator"},
		{"64:ff9b:1::1", "translator"},
		{"100::1", "outside"},
		{"fe80::1", "link-local"},
		{"fe80::1%eth0", "link-local"},
		{"febf::1", "link-local"},
		{"fec0::1", "outside"},
		{"fc00::1", "private"},
		{"fd00:ec2::254", "private"}, // a metadata service
		{"ff02::1", "multicast"},
		{"2001::1", "Teredo"},
		{"2001:1ff::1", "assignments"},
		{"2001:200::1", ""},
		{"2001:db8::1", "documentation"},
		{"2001:4860:4860::8888", ""},
		{"2002:7f00:1::1", "6to4"},
		{"2003::1", ""},
		{"2606:4700::1111", ""},
		{"3fff::1", "documentation"},
		{"3fff:1000::1", ""},
		{"4000::1", "outside"},
		{"5f00::1", "outside"},
	}
	var p Policy
	for _, tt := range tests {
		t.Run(tt.addr, func(t *testing.T) {
			err := p.Check(netip.MustParseAddr(tt.addr))
			switch {
			case tt.refused == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tt.refused != "" && !errors.Is(err, ErrRefused):
				t.Errorf("error is %v, want %v", err, ErrRefused)
			case tt.refused != "" && !strings.Contains(err.Error(), tt.refused):
				t.Errorf("error is %v, want the reason %q", err, tt.refused)
			}
		})
	}
	if err := p.Check(netip.Addr{}); !errors.Is(err, ErrRefused) {
		t.Errorf("no address: error is %v, want %v", err, ErrRefused)
	}
}

// TestCheckAgainstStd compares with what the standard library knows of an
// address, over all /16 of IPv4 and a walk through IPv6.
func TestCheckAgainstStd(t *testing.T) {
	var p Policy
	check := func(a netip.Addr) {
		special := a.IsLoopback() || a.IsPrivate() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() || !a.IsGlobalUnicast()
		if special && p.Check(a) == nil {
			t.Errorf("%v is allowed", a)
		}
		if mapped := netip.AddrFrom16(a.As16()); (p.Check(mapped) == nil) != (p.Check(a) == nil) {
			t.Errorf("%v and %v are judged differently", a, mapped)
		}
	}
	for i := range 1 << 16 {
		check(netip.AddrFrom4([4]byte{byte(i >> 8), byte(i), 0, 1}))
		check(netip.AddrFrom16([16]byte{0: byte(i >> 8), 1: byte(i), 15: 1}))
	}
}

func TestAllow(t *testing.T) {
	p := Policy{Allow: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("fe80::/10")}}
	for addr, allowed := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "10.2.0.1": false, "::1": true, "127.0.0.1": false,
		"fe80::1%eth0": true, "8.8.8.8": true,
	} {
		if err := p.Check(netip.MustParseAddr(addr)); (err == nil) != allowed {
			t.Errorf("%s: %v, want allowed=%t", addr, err, allowed)
		}
	}
}

func TestCheckHost(t *testing.T) {
	var p Policy
	for host, allowed := range map[string]bool{
		"localhost": false, "LOCALHOST.": false, "a.localhost": false, "127.0.0.1": false, "::1": false, "fe80::1%lo": false,
		"example.org": true, "8.8.8.8": true, "localhost.example.org": true,
	} {
		if err := p.CheckHost(host); (err == nil) != allowed {
			t.Errorf("%s: %v, want allowed=%t", host, err, allowed)
		}
	}
}

// listen returns the address of a listener on loopback, which tells of each
// connection in the order in which they were made.
func listen(t *testing.T) (address string, accepted <-chan struct{}) {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns, done := make(chan struct{}, 1000), make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns <- struct{}{}
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return l.Addr().String(), conns
}

// dial connects with a policy and closes the connection.
func dial(ctx context.Context, p *Policy, address string) error {
	c, err := p.DialContext(net.Dialer{})(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return c.Close()
}

func TestDial(t *testing.T) {
	address, accepted := listen(t)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	named := net.JoinHostPort("localhost", port)
	proxied := context.WithValue(t.Context(), proxyKey{}, address)
	tests := []struct {
		name    string
		ctx     context.Context //nolint:containedctx // a table
		policy  *Policy
		address string
		allowed bool
	}{
		{"default", t.Context(), &Policy{}, address, false},
		{"by name", t.Context(), &Policy{}, named, false},
		{"mapped", t.Context(), &Policy{}, "[::ffff:127.0.0.1]:" + port, false},
		{"mapped hex", t.Context(), &Policy{}, "[::ffff:7f00:1]:" + port, false},
		{"unspecified", t.Context(), &Policy{}, "0.0.0.0:" + port, false},
		{"unspecified 6", t.Context(), &Policy{}, "[::]:" + port, false},
		{"empty host", t.Context(), &Policy{}, ":" + port, false},
		{"loopback 6", t.Context(), &Policy{}, "[::1]:" + port, false},
		{"no policy", t.Context(), nil, address, true},
		{"allowed network", t.Context(), &Policy{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, address, true},
		{"exempt", t.Context(), &Policy{Exempt: []string{address}}, address, true},
		{"exempt name", t.Context(), &Policy{Exempt: []string{named}}, "LOCALHOST:" + port, true},
		{"exempt is another port", t.Context(), &Policy{Exempt: []string{"127.0.0.1:1"}}, address, false},
		{"the request's proxy", proxied, &Policy{}, address, true},
		{"not the request's proxy", proxied, &Policy{}, named, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := dial(tt.ctx, tt.policy, tt.address)
			if tt.allowed && err != nil {
				t.Errorf("refused: %v", err)
			}
			if !tt.allowed && !errors.Is(err, ErrRefused) {
				t.Errorf("error is %v, want %v", err, ErrRefused)
			}
			// What was refused must not have been connected: the next that is
			// accepted is one more that was allowed.
			if err := dial(t.Context(), nil, address); err != nil {
				t.Fatal(err)
			}
			<-accepted
			if tt.allowed && err == nil {
				<-accepted
			}
			if n := len(accepted); n != 0 {
				t.Errorf("%d connections were made", n)
			}
		})
	}
}

func TestControlOfOddAddresses(t *testing.T) {
	var p Policy
	for _, address := range []string{"", "x", "/run/x.sock", "1.2.3.4", "[fe80::1%lo]:1"} {
		if err := p.Control(t.Context(), "tcp", address, nil); !errors.Is(err, ErrRefused) {
			t.Errorf("%q: error is %v, want %v", address, err, ErrRefused)
		}
	}
}

func TestWithProxy(t *testing.T) {
	p := &Policy{Exempt: []string{"127.0.0.1:9000"}}
	for target, allowed := range map[string]bool{"example.org:80": true, "127.0.0.1:80": false, "127.0.0.1:9000": true, "localhost:80": false} {
		host, port, err := net.SplitHostPort(target)
		if err != nil {
			t.Fatal(err)
		}
		ctx, err := p.WithProxy(t.Context(), "10.0.0.1:3128", host, port)
		if (err == nil) != allowed {
			t.Errorf("%s: %v, want allowed=%t", target, err, allowed)
		}
		if allowed && !proxied(ctx, "10.0.0.1:3128") {
			t.Errorf("%s: the proxy may not be dialled", target)
		}
	}
}

func FuzzCheck(f *testing.F) {
	for _, seed := range []string{"127.0.0.1", "::ffff:10.0.0.1", "fe80::1%x", "2606:4700::1111", "2606:4700::11%1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var p Policy
		a, err := netip.ParseAddr(s)
		if err != nil {
			return
		}
		if (a.IsLoopback() || a.IsPrivate() || a.IsUnspecified() || a.Zone() != "") && p.Check(a) == nil && p.CheckHost(s) == nil {
			t.Errorf("%v is allowed", a)
		}
	})
}
