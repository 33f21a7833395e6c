package hub

import (
	"errors"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// errAddress is the error of what is no address.
var errAddress = errors.New("is no address, as in 127.0.0.1:8787 or 8787")

// Address returns the "host:port" that a setting means: a port alone is one of
// loopback. Other addresses have to be written out, with a literal host.
func Address(text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = "", text
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return "", errAddress
	}
	switch host {
	case "", "localhost":
		host = "127.0.0.1"
	default:
		if _, err := netip.ParseAddr(host); err != nil {
			return "", errAddress
		}
	}
	return net.JoinHostPort(host, port), nil
}

// IsLoopback tells whether only this machine reaches what listens on an address.
func IsLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// IsSelf tells whether an endpoint leads to what listens on an address of this
// machine: requests would go round in circles.
func IsSelf(endpoint string, addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	u, err := url.Parse(endpoint)
	if !ok || err != nil {
		return false
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[strings.ToLower(u.Scheme)]
	}
	if port != strconv.Itoa(tcp.Port) {
		return false
	}
	if strings.EqualFold(u.Hostname(), "localhost") {
		return tcp.IP.IsLoopback() || tcp.IP.IsUnspecified()
	}
	ip := net.ParseIP(u.Hostname())
	switch {
	case ip == nil:
		return false // found out when a request comes back
	case tcp.IP.IsUnspecified():
		return ip.IsLoopback() || ip.IsUnspecified() || isOwn(ip)
	}
	return ip.Equal(tcp.IP) || ip.IsUnspecified()
}

// isOwn tells whether an address is one of this machine's.
func isOwn(ip net.IP) bool {
	own, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range own {
		if n, ok := a.(*net.IPNet); ok && n.IP.Equal(ip) {
			return true
		}
	}
	return false
}

// URL returns what clients set HF_ENDPOINT to.
func URL(addr net.Addr) string {
	tcp, ok := addr.(*net.TCPAddr)
	if ok && tcp.IP.IsUnspecified() {
		return "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(tcp.Port))
	}
	return "http://" + addr.String()
}
