package hub

import (
	"net/url"
	"strings"
	"unicode"
)

// clean makes a text fit for a header field: printable ASCII in one line, of
// bounded length.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case r < ' ' || r > '~':
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), 400)]
}

// ownLinks returns those links of a Link field (RFC 8288) that lead to another
// page of an answer, with base in the place of the upstream's own address. Other
// links, as those to Xet's servers, are left out.
func ownLinks(field, base string) string {
	var links []string
	for field != "" {
		_, rest, ok := strings.Cut(field, "<")
		if !ok {
			break
		}
		uri, params, ok := strings.Cut(rest, ">")
		if !ok {
			break
		}
		params, after, more := strings.Cut(params, "<") // where the next link begins
		if field = ""; more {
			field = "<" + after
		}
		rel := relation(params)
		u, err := url.Parse(uri)
		if err != nil || u.Opaque != "" || rel == "" || !strings.HasPrefix(u.EscapedPath(), "/api/") {
			continue
		}
		link := "<" + base + u.EscapedPath()
		if u.RawQuery != "" {
			link += "?" + u.RawQuery
		}
		links = append(links, link+`>; rel="`+rel+`"`)
	}
	return strings.Join(links, ", ")
}

// relation returns the relation to another page that the parameters of a link
// state, "" if they state none.
func relation(params string) string {
	for param := range strings.SplitSeq(strings.TrimRight(params, ", \t"), ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(param), "=")
		if !strings.EqualFold(strings.TrimSpace(key), "rel") {
			continue
		}
		switch rel := strings.ToLower(strings.Trim(strings.TrimSpace(value), `"`)); rel {
		case "next", "prev", "first", "last":
			return rel
		}
	}
	return ""
}

// entityTag returns the text of an entity tag: without W/ and quotes.
func entityTag(field string) string {
	return strings.Trim(strings.TrimPrefix(strings.TrimSpace(field), "W/"), `"`)
}

// orText returns s, or other when it is empty.
func orText(s, other string) string {
	if s == "" {
		return other
	}
	return s
}
