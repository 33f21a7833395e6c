package hub

import (
	"net/url"
	"strings"
	"unicode"

	"github.com/hypha-node/hypha-node/connectors/hf"
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
	for target, rels := range hf.Links([]string{field}) {
		rel := pageOf(rels)
		u, err := url.Parse(target)
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

// pageOf returns the relation to another page among those of a link, "" if there is
// none.
func pageOf(rels []string) string {
	for _, rel := range rels {
		switch rel {
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
