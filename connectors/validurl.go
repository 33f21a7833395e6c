package connectors

import (
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// checkURL checks an http(s) URL: it must name a host that can be one. Which
// addresses may be dialled is decided at dial time.
func checkURL(raw string) error {
	if len(raw) > maxURI {
		return &FieldError{Field: "value", Problem: "is too long"}
	}
	if !printable(raw) || strings.ContainsAny(raw, " \\") {
		return &FieldError{Field: "value", Problem: "holds a space, a backslash or a control character"}
	}
	u, err := url.Parse(raw)
	if err != nil {
		return &FieldError{Field: "value", Problem: "is no URL"}
	}
	if problem := hostProblem(u); problem != "" {
		return &FieldError{Field: "value", Problem: problem}
	}
	return nil
}

// hostProblem returns what is wrong with the authority of a URL, or "".
func hostProblem(u *url.URL) string {
	host := u.Hostname()
	if host == "" {
		return "has no host"
	}
	if _, port, ok := strings.Cut(u.Host[strings.LastIndexByte(u.Host, ']')+1:], ":"); ok {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "has a bad port"
		}
	}
	if strings.HasPrefix(u.Host, "[") {
		addr, err := netip.ParseAddr(host)
		if err != nil || addr.Zone() != "" {
			return "has a host that is no IPv6 address"
		}
		return ""
	}
	if !isHost(host) {
		return "has a host that is no host name"
	}
	return ""
}

// isHost tells whether s is a host name or a dotted IPv4 address. Shortened,
// octal and hexadecimal addresses (127.1, 0x7f000001, 2130706433) are none:
// programs disagree on what they mean.
func isHost(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return false
	}
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range label {
			if c != '-' && c != '_' && (c < '0' || c > '9') && !unicode.IsLetter(c) && !unicode.IsMark(c) {
				return false
			}
		}
	}
	if !isNumber(labels[len(labels)-1]) {
		return true
	}
	// A name whose last label is a number is an address or nothing.
	addr, err := netip.ParseAddr(s)
	return err == nil && addr.Is4()
}

// isNumber tells whether some resolver could take a label for a number.
func isNumber(label string) bool {
	if hexed, ok := strings.CutPrefix(strings.ToLower(label), "0x"); ok {
		return strings.Trim(hexed, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

// checkHeaders refuses headers that would change the framing, the range or the
// target of a request: those belong to the connector.
func checkHeaders(headers map[string]Secret) error {
	if len(headers) > 100 {
		return &FieldError{Field: "headers", Problem: "has more than 100 elements"}
	}
	for name, value := range headers {
		field := "headers." + limit(name)
		if !isToken(name) {
			return &FieldError{Field: field, Problem: "is no header name"}
		}
		switch http.CanonicalHeaderKey(name) {
		case "Host", "Connection", "Content-Length", "Transfer-Encoding", "Te", "Trailer", "Upgrade", "Expect",
			"Keep-Alive", "Proxy-Authorization", "Proxy-Connection", "Range", "If-Range", "If-Match",
			"If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "Accept-Encoding":
			return &FieldError{Field: field, Problem: "may not be set"}
		}
		if len(value) > 8192 || !isHeaderValue(value.Reveal()) {
			return &FieldError{Field: field, Problem: "is too long or holds a control character"}
		}
	}
	return nil
}

// isToken tells whether s is a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	if s == "" || len(s) > 256 {
		return false
	}
	for _, c := range []byte(s) {
		if !isAlnum(c) && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return true
}

// isHeaderValue tells whether s can be a field value: RFC 9110, section 5.5.
func isHeaderValue(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
