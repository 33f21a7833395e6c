package netguard

import "net/netip"

// reserved returns why an address (unmapped, without a zone) is not public, or
// "". The blocks are those of the IANA special-purpose address registries
// (RFC 6890 and its updates, read 2026-08).
func reserved(a netip.Addr) string {
	switch {
	case a.Is4():
		return reserved4(a.As4())
	case a.Is6():
		return reserved6(a.As16())
	}
	return "no address"
}

// reserved4 judges an IPv4 address.
func reserved4(b [4]byte) string {
	switch {
	case b[0] == 0:
		return "of this network (0.0.0.0/8)"
	case b[0] == 127:
		return "loopback"
	case b[0] == 10, b[0] == 172 && b[1]&0xf0 == 16, b[0] == 192 && b[1] == 168:
		return "private"
	case b[0] == 100 && b[1]&0xc0 == 64:
		return "shared by a carrier (100.64.0.0/10)"
	case b[0] == 169 && b[1] == 254:
		return "link-local"
	case b[0] == 192 && b[1] == 0 && b[2] == 0:
		return "for protocol assignments (192.0.0.0/24)"
	case b[0] == 192 && b[1] == 88 && b[2] == 99:
		return "a 6to4 relay (192.88.99.0/24)"
	case b[0] == 198 && b[1]&0xfe == 18:
		return "for benchmarks (198.18.0.0/15)"
	case b[0] == 192 && b[1] == 0 && b[2] == 2, b[0] == 198 && b[1] == 51 && b[2] == 100, b[0] == 203 && b[1] == 0 && b[2] == 113:
		return "for documentation"
	case b[0] >= 224 && b[0] < 240:
		return "multicast"
	case b[0] >= 240:
		return "reserved or broadcast (240.0.0.0/4)"
	}
	return ""
}

// reserved6 judges an IPv6 address. Only 2000::/3 is public at all; what lies
// outside and has a name of its own gets it for the sake of the error.
func reserved6(b [16]byte) string {
	switch {
	case b == [16]byte{}:
		return "unspecified"
	case b == [16]byte{15: 1}:
		return "loopback"
	case b[0] == 0xff:
		return "multicast"
	case b[0] == 0xfe && b[1]&0xc0 == 0x80:
		return "link-local"
	case b[0]&0xfe == 0xfc:
		return "private (fc00::/7)"
	case b[0] == 0 && b[1] == 0x64 && b[2] == 0xff && b[3] == 0x9b:
		return "an IPv4 address behind a translator (64:ff9b::/32)"
	case b[0]>>5 != 1:
		return "outside the public IPv6 space"
	case b[0] == 0x20 && b[1] == 0x01 && b[2] < 2:
		return "for protocol assignments (2001::/23, Teredo among them)"
	case b[0] == 0x20 && b[1] == 0x01 && b[2] == 0x0d && b[3] == 0xb8, b[0] == 0x3f && b[1] == 0xff && b[2] < 0x10:
		return "for documentation"
	case b[0] == 0x20 && b[1] == 0x02:
		return "an IPv4 address behind 6to4 (2002::/16)"
	}
	return ""
}
