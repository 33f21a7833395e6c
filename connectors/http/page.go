package httpconn

import (
	"bytes"
	"fmt"
	"path"
	"strings"
)

// notPage returns a check that refuses a web page in the place of a file whose name
// says that it is something else: servers that want a login give one with the status
// 200. Nil for names that may be of pages.
func notPage(source, name string) func(head []byte) error {
	switch ext := strings.ToLower(path.Ext(name)); ext {
	case "", ".html", ".htm", ".xhtml", ".xht", ".shtml", ".xml", ".svg", ".txt", ".md", ".php", ".asp", ".aspx", ".jsp", ".cgi", ".warc", ".mhtml", ".eml":
		return nil
	}
	return func(head []byte) error {
		text := bytes.ToLower(bytes.TrimLeft(bytes.TrimPrefix(head, []byte("\ufeff")), " \t\r\n"))
		if !bytes.HasPrefix(text, []byte("<!doctype html")) && !bytes.HasPrefix(text, []byte("<html")) {
			return nil
		}
		refused := fail("open", source, fmt.Errorf("%w: a web page came in the place of %s, perhaps to log in", finalUpstream{}, name))
		refused.Hint = "give the reference a token or headers; or state the checksum if the page is what you want"
		return refused
	}
}
