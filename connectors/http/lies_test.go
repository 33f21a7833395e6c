package httpconn_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
)

// lie is an origin whose answers can't be right, or can't be meant well.
type lie struct {
	name   string
	path   string   // of the URL; "" means /x
	say    []string // what it sends, by request; the last for all that follow
	flood  string   // sent after that, for ever
	silent bool     // the connection stays open after that, without a byte
	whole  bool     // the whole content is asked for, not the range

	// What is right.
	want   string // the content that arrives; "" when it is refused
	empty  bool   // it arrives, and is empty
	begins bool   // its beginning may be handed out before it is refused
	kind   error  // of the refusal; nil means connectors.ErrUpstream
	err    string // part of it
	asked  int    // requests; 0 means any number
	called string // the item's name; "" means any
}

// TestLies: what a job gets from origins that lie: the content, if what it asked for
// is certain in spite of that, or an error. Nothing else is ever handed out, and
// nothing inside is talked to.
func TestLies(t *testing.T) {
	const off, n = 10, 20
	text := strings.Repeat("0123456789", 10)
	part := text[off : off+n]
	chunked := "64\r\n" + text + "\r\n0\r\n\r\n"
	const page = "<!DOCTYPE html><title>Log in</title>"
	const tries = "after 2 attempts"
	says := func(status, body string, fields ...string) []string {
		return []string{answer(status, body, fields...)}
	}
	plain := func(text string) []string { return []string{text} }
	to := func(location string) []string { return says("302 X", "", "Content-Length: 0", "Location: "+location) }
	inside, atInside := serve(t, func(int, http.ResponseWriter, *http.Request) {})
	inside = strings.TrimPrefix(inside, "http://")
	_, port, _ := strings.Cut(inside, ":")
	names := strings.NewReplacer("INSIDE", inside, "PORT", port)
	tests := []lie{
		{name: "range from elsewhere", say: says("206 X", part, "Content-Length: 20", "Content-Range: bytes 11-30/100"), err: "instead of bytes=10-29"},
		{name: "range from before", say: says("206 X", text[5:25], "Content-Length: 20", "Content-Range: bytes 5-24/100"), err: "instead of bytes=10-29"},
		{name: "range too long", say: says("206 X", text[10:40], "Content-Length: 30", "Content-Range: bytes 10-39/100"), err: "instead of bytes=10-29"},
		{name: "range without a Content-Range", say: says("206 X", part, "Content-Length: 20"), err: "sound Content-Range"},
		{name: "range backwards", say: says("206 X", part, "Content-Length: 20", "Content-Range: bytes 29-10/100"), err: "sound Content-Range"},
		{name: "range behind its total", say: says("206 X", part, "Content-Length: 20", "Content-Range: bytes 10-29/20"), err: "sound Content-Range"},
		{name: "range in another unit", say: says("206 X", part, "Content-Length: 20", "Content-Range: items 10-29/100"), err: "sound Content-Range"},
		{name: "range that overflows", say: says("206 X", part, "Content-Length: 20", "Content-Range: bytes 10-99999999999999999999/*"), err: "sound Content-Range"},
		{name: "length and range differ", say: says("206 X", part, "Connection: close", "Content-Length: 19", "Content-Range: bytes 10-29/100"), err: "length of a part"},
		{name: "several ranges", say: says("206 X", part, "Content-Length: 20", "Content-Type: multipart/byteranges; boundary=x"), err: "sound Content-Range"},
		{name: "part for the whole", whole: true, say: says("206 X", part, "Content-Length: 20", "Content-Range: bytes 0-19/100"), err: "whole was asked for"},
		{name: "part of unknown total", say: says("206 X", part, "Content-Length: 20", "Content-Range: bytes 10-29/*"), want: part},
		{name: "part without a length", say: says("206 X", part+"more", "Connection: close", "Content-Range: bytes 10-29/100"), want: part},
		{name: "whole for the range", say: says("200 OK", text, "Content-Length: 100"), want: part},
		{name: "whole for the range, too short", say: says("200 OK", "012", "Content-Length: 3"), err: "beyond the end"},
		{name: "whole for the range, too short, chunked", say: says("200 OK", "3\r\n012\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), err: "ends before offset"},
		{name: "whole for the range, chunked", say: says("200 OK", "64\r\n"+text+"\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), want: part},
		{name: "gzip", whole: true, say: says("200 OK", "\x1f\x8b123", "Content-Length: 5", "Content-Encoding: gzip"), err: "encoded"},
		{name: "gzip in a part", say: says("206 X", part, "Content-Length: 20", "Content-Range: bytes 10-29/100", "Content-Encoding: gzip"), err: "encoded"},
		{name: "two encodings", whole: true, say: says("200 OK", "12345", "Content-Length: 5", "Content-Encoding: identity, br"), err: "encoded"},
		{name: "identity is no encoding", whole: true, say: says("200 OK", text, "Content-Length: 100", "Content-Encoding: identity"), want: text},
		{name: "not modified", whole: true, say: says("304 X", ""), err: "not modified"},
		{name: "no content", whole: true, say: says("204 X", ""), err: "no content"},
		{name: "range refused", say: says("416 X", "", "Content-Length: 0"), err: "range was refused"},
		{name: "range refused inside", say: says("416 X", "", "Content-Length: 0", "Content-Range: bytes */100"), err: "inside the content"},
		{name: "range behind the end", say: says("416 X", "", "Content-Length: 0", "Content-Range: bytes */5"), err: "beyond the end"},
		{name: "redirect to nowhere", say: says("302 X", "", "Content-Length: 0"), err: "without a location"},
		{name: "redirect to a file", say: says("302 X", "", "Content-Length: 0", "Location: file:///etc/passwd"), kind: connectors.ErrForbidden, err: "redirect to file:"},
		{name: "redirect to no host", say: says("302 X", "", "Content-Length: 0", "Location: http:///x"), kind: connectors.ErrForbidden, err: "redirect to http:"},
		{name: "redirect to gopher", say: says("302 X", "", "Content-Length: 0", "Location: gopher://127.0.0.1/x"), kind: connectors.ErrForbidden, err: "redirect to gopher:"},
		{name: "redirect to garbage", say: says("302 X", "", "Content-Length: 0", "Location: http://[::1"), err: "no URL"},
		{name: "not HTTP", say: plain("SSH-2.0-OpenSSH_9\r\n"), err: "after 2 attempts"},
		{name: "nothing at all", say: plain(""), err: "after 2 attempts"},
		{name: "two lengths", say: says("200 OK", text, "Content-Length: 100", "Content-Length: 50"), err: "after 2 attempts"},
		{name: "length of nonsense", say: says("200 OK", text, "Content-Length: -1"), err: "after 2 attempts"},
		{name: "huge headers", say: says("200 OK", text, "Content-Length: 100", "X: "+strings.Repeat("x", 300<<10)), err: "after 2 attempts"},
		{name: "error", say: says("500 X", "oops", "Content-Length: 4"), err: "after 2 attempts"},
		{name: "not implemented", say: says("501 X", "oops", "Content-Length: 4"), err: "not implemented"},
		{name: "odd status", say: says("799 X", "", "Content-Length: 0"), err: "status 799"},
		{name: "part of a content that is not the one told in a 200", say: says("200 OK", part, "Content-Length: 20", "Content-Range: bytes 10-29/100"), err: "a part was sent with the status of the whole"},
		{name: "whole with its Content-Range", whole: true, say: says("200 OK", text, "Content-Length: 100", "Content-Range: bytes 0-99/100"), want: text},
		{name: "part for the whole, from its beginning", whole: true, say: says("206 X", text, "Content-Length: 100", "Content-Range: bytes 0-99/100"), err: "whole was asked for"},
		{name: "empty, by 416", whole: true, say: says("416 X", "", "Content-Length: 0", "Content-Range: bytes */0"), empty: true},
		{name: "more than its length", whole: true, say: says("200 OK", text+"more", "Connection: close", "Content-Length: 100"), want: text},
		{name: "less than its length", whole: true, begins: true, say: says("200 OK", text[:50], "Content-Length: 100"), err: "body broke at byte 50"},
		{name: "less than the length of a part", begins: true, say: says("206 X", part[:5], "Content-Length: 20", "Content-Range: bytes 10-29/100"), err: "body broke at byte 15"},
		{name: "the largest length", whole: true, begins: true, say: says("200 OK", text, "Content-Length: 9223372036854775807"), err: "body broke at byte 100"},
		{name: "length that overflows", whole: true, say: says("200 OK", text, "Content-Length: 99999999999999999999"), err: tries},
		{name: "length with a sign", whole: true, say: says("200 OK", text, "Content-Length: +100"), err: tries},
		{name: "length in hex", whole: true, say: says("200 OK", text, "Content-Length: 0x64"), err: tries},
		{name: "two lengths in one field", whole: true, say: says("200 OK", text, "Content-Length: 100, 50"), err: tries},
		{name: "length beside chunks", whole: true, say: says("200 OK", chunked, "Content-Length: 3", "Transfer-Encoding: chunked"), want: text},
		{name: "chunks that end early", whole: true, begins: true, say: says("200 OK", "64\r\n"+text[:50], "Transfer-Encoding: chunked"), err: "body broke at byte 50"},
		{name: "no last chunk", whole: true, begins: true, say: says("200 OK", "64\r\n"+text+"\r\n", "Transfer-Encoding: chunked"), err: "body broke at byte 100"},
		{name: "chunk whose size overflows", whole: true, say: says("200 OK", "fffffffffffffffff\r\n"+text, "Transfer-Encoding: chunked"), err: tries},
		{name: "chunk of no size", whole: true, say: says("200 OK", "\r\n"+text, "Transfer-Encoding: chunked"), err: tries},
		{name: "endless chunk extension", whole: true, say: says("200 OK", "64;", "Transfer-Encoding: chunked"), flood: "x", err: tries},

		{name: "gzip, in other letters", whole: true, say: says("200 OK", "\x1f\x8b123", "Content-Length: 5", "Content-Encoding: X-GZIP"), err: "encoded"},
		{name: "deflate for the range", say: says("200 OK", text, "Content-Length: 100", "Content-Encoding: deflate"), err: "encoded"},
		{name: "encoded transfer", whole: true, say: says("200 OK", "x", "Transfer-Encoding: gzip, chunked"), err: tries},
		{name: "chunks of chunks", whole: true, say: says("200 OK", chunked, "Transfer-Encoding: chunked, chunked"), err: tries},

		{name: "redirect to this machine", say: to("http://INSIDE/"), kind: connectors.ErrForbidden, err: "127.0.0.1"},
		{name: "redirect to this machine by name", say: to("http://localhost:PORT/"), kind: connectors.ErrForbidden, err: "is loopback"},
		{name: "redirect to this machine, without a scheme", say: to("//INSIDE/"), kind: connectors.ErrForbidden, err: "127.0.0.1"},
		{name: "redirect to this machine over IPv6", say: to("http://[::1]:PORT/"), kind: connectors.ErrForbidden, err: "::1"},
		{name: "redirect to this machine, mapped", say: to("http://[::ffff:127.0.0.1]:PORT/"), kind: connectors.ErrForbidden, err: "127.0.0.1"},
		{name: "redirect to this machine behind NAT64", say: to("http://[64:ff9b::7f00:1]:PORT/"), kind: connectors.ErrForbidden, err: "64:ff9b::7f00:1"},
		{name: "redirect to any address", say: to("http://0.0.0.0:PORT/"), kind: connectors.ErrForbidden, err: "0.0.0.0"},
		{name: "redirect to the metadata of a cloud", say: to("http://169.254.169.254/latest/meta-data/"), kind: connectors.ErrForbidden, err: "169.254.169.254"},
		{name: "redirect to a private network", say: to("https://10.0.0.1/"), kind: connectors.ErrForbidden, err: "10.0.0.1"},
		{name: "redirect inside, the second time", say: append(to("/y"), to("http://INSIDE/")...), kind: connectors.ErrForbidden, err: "127.0.0.1", asked: 2},
		{name: "redirect with a user that looks outside", say: to("http://example.org@INSIDE/"), kind: connectors.ErrForbidden, err: "127.0.0.1"},
		{name: "redirect to a script", say: to("javascript:alert(1)"), kind: connectors.ErrForbidden, err: "redirect to"},
		{name: "redirect to data", say: to("data:text/plain,0123"), kind: connectors.ErrForbidden, err: "redirect to"},
		{name: "redirect to FTP", say: to("ftp://example.org/x"), kind: connectors.ErrForbidden, err: "redirect to ftp:"},
		{name: "redirect to itself", say: to("/x"), err: "more than 10 redirects", asked: 11},
		{name: "redirects back and forth", say: []string{to("/y")[0], to("/x")[0], to("/y")[0], to("/x")[0], to("/y?z")[0]}, err: "more than 10 redirects", asked: 11},
		{name: "a proxy of the origin's choice", say: says("305 X", "", "Content-Length: 0", "Location: http://INSIDE/"), err: "use proxy"},
		{name: "several choices", say: says("300 X", "", "Content-Length: 0", "Location: http://INSIDE/"), err: "multiple choices"},
		{name: "a page that refreshes itself", whole: true, say: says("200 OK", text, "Content-Length: 100", "Refresh: 0; url=http://INSIDE/"), want: text},

		{name: "endless body for the range", say: says("200 OK", text, "Connection: close"), flood: text, want: part},
		{name: "endless chunks for the range", say: says("200 OK", "64\r\n"+text+"\r\n", "Transfer-Encoding: chunked"), flood: "64\r\n" + text + "\r\n", want: part},
		{name: "endless field", whole: true, say: plain("HTTP/1.1 200 OK\r\nX: "), flood: "x", err: tries},
		{name: "endless fields", whole: true, say: plain("HTTP/1.1 200 OK\r\n"), flood: "X: y\r\n", err: tries},
		{name: "endless early hints", whole: true, flood: "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", err: tries},
		{name: "endless status", whole: true, say: plain("HTTP/1.1 200 "), flood: "x", err: tries},

		{name: "silence", whole: true, silent: true, say: plain(""), err: tries},
		{name: "silence in the fields", whole: true, silent: true, say: plain("HTTP/1.1 200 OK\r\nContent-Le"), err: tries},
		{name: "silence before the body", whole: true, silent: true, say: says("200 OK", "", "Content-Length: 100"), err: tries},
		{name: "silence in the body", whole: true, silent: true, begins: true, say: says("200 OK", text[:50], "Content-Length: 100"), err: "stalled"},
		{name: "silence behind the body", whole: true, silent: true, say: says("200 OK", text, "Content-Length: 100"), want: text},

		{name: "a page to log in", whole: true, path: "/m.safetensors", say: says("200 OK", page, fmt.Sprint("Content-Length: ", len(page)), "Content-Type: text/html"), err: "web page", asked: 1},
		{name: "a page to log in, called something else", whole: true, path: "/m.gguf", say: says("200 OK", page, fmt.Sprint("Content-Length: ", len(page)), "Content-Type: application/octet-stream"), err: "web page"},
		{name: "a page to log in, elsewhere", whole: true, path: "/m.bin", say: append(to("/login"), says("200 OK", page, fmt.Sprint("Content-Length: ", len(page)))...), err: "web page", asked: 2},
		{name: "a page to log in, in chunks", whole: true, path: "/m.bin", say: says("200 OK", "5\r\n<!DOC\r\n9\r\nTYPE HTML\r\n1\r\n>\r\n0\r\n\r\n", "Transfer-Encoding: chunked"), err: "web page"},
		{name: "a page to log in, with its status", whole: true, path: "/m.bin", say: says("401 X", page, fmt.Sprint("Content-Length: ", len(page))), kind: connectors.ErrUnauthorized, err: "no access"},
		{name: "teapot", whole: true, say: says("418 X", page, fmt.Sprint("Content-Length: ", len(page))), err: "teapot", asked: 1},

		{name: "name with a way up", whole: true, path: "/a/%2e%2e%2f%2e%2e%2fetc%2fpasswd", say: says("200 OK", text, "Content-Length: 100"), want: text, called: ".._.._etc_passwd"},
		{name: "name that is the way up", whole: true, path: "/a/%2e%2e", say: says("200 OK", text, "Content-Length: 100"), want: text, called: "part-0.bin"},
		{name: "name with a drive", whole: true, path: "/C:%5Cwindows%5Cx.bin", say: says("200 OK", text, "Content-Length: 100"), want: text, called: "C__windows_x.bin"},
		{name: "name with control characters", whole: true, path: "/a%00b%1b%5b2J.bin", say: says("200 OK", text, "Content-Length: 100"), want: text, called: "a_b_[2J.bin"},
		{name: "name of the origin's choice", whole: true, path: "/m.bin", say: says("200 OK", text, "Content-Length: 100", `Content-Disposition: attachment; filename="../../etc/passwd"; filename*=UTF-8''%2Fetc%2Fpasswd`), want: text, called: "m.bin"},
		{name: "name by a redirect", whole: true, path: "/m.bin", say: append(to("/%2e%2e%2fetc"), says("200 OK", text, "Content-Length: 100")...), want: text, called: "m.bin"},

		{name: "status of letters", say: plain("HTTP/1.1 2OO OK\r\n\r\n"), err: tries},
		{name: "no status", say: plain(text), err: tries},
		{name: "field without a colon", say: plain("HTTP/1.1 200 OK\r\nnonsense\r\n\r\n"), err: tries},
		{name: "another protocol", whole: true, say: says("101 X", text, "Upgrade: x", "Connection: upgrade"), err: "switching protocols"},
		{name: "a wait of years", say: says("429 X", "", "Content-Length: 0", "Retry-After: 99999999"), err: "too many requests", asked: 1},
		{name: "a wait that overflows", say: says("503 X", "", "Content-Length: 0", "Retry-After: 99999999999999999999"), err: tries, asked: 2},
		{name: "a wait for the past", say: says("503 X", "", "Content-Length: 0", "Retry-After: -5"), err: tries, asked: 2},
		{name: "digest of nonsense", whole: true, say: says("200 OK", text, "Content-Length: 100", "Repr-Digest: sha-256=:AAAA:"), want: text},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			base, log := raw(t, func(n int, _ *http.Request, w io.Writer) { tt.tell(n, w, names) })
			cfg := httpconn.Config{Retries: 1, Exempt: []string{strings.TrimPrefix(base, "http://")}}
			if tt.silent {
				cfg.Stall, cfg.Header = 200*time.Millisecond, 200*time.Millisecond
			}
			from, count, want := int64(off), int64(n), part
			if tt.whole {
				from, count, want = 0, -1, text
			}
			it, got, err := tt.fetch(t, newConnector(t, cfg), base, from, count)
			if tt.called != "" && it.Path != tt.called {
				t.Errorf("it is called %q, want %q", it.Path, tt.called)
			}
			if !strings.HasPrefix(want, got) || got != "" && !tt.begins && got != tt.want {
				t.Errorf("got %q", got)
			}
			if asked := log.count(); tt.asked != 0 && asked != tt.asked {
				t.Errorf("%d requests, want %d", asked, tt.asked)
			}
			if tt.want != "" || tt.empty {
				if err != nil || got != tt.want {
					t.Errorf("got %q, %v, want %q", got, err, tt.want)
				}
				return
			}
			kind := tt.kind
			if kind == nil {
				kind = connectors.ErrUpstream
			}
			if _, ok := errors.AsType[*connectors.Error](err); !ok || !errors.Is(err, kind) || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error is %v, want %v that says %q", err, kind, tt.err)
			}
		})
	}
	if atInside.count() != 0 {
		t.Errorf("%d requests to the inside", atInside.count())
	}
}

// tell sends the lie as the answer to request n.
func (l lie) tell(n int, w io.Writer, names *strings.Replacer) {
	if len(l.say) > 0 {
		_, _ = io.WriteString(w, names.Replace(l.say[min(n, len(l.say)-1)]))
	}
	for l.flood != "" {
		if _, err := io.WriteString(w, strings.Repeat(l.flood, 1+4096/len(l.flood))); err != nil {
			return
		}
	}
	if conn, ok := w.(net.Conn); ok && l.silent {
		_, _ = io.Copy(io.Discard, conn) // until the other side has given up
	}
}

// fetch reads what the lie is about, on behalf of a job.
func (l lie) fetch(t *testing.T, c *httpconn.Connector, base string, off, n int64) (it connectors.Item, got string, err error) {
	t.Helper()
	path := l.path
	if path == "" {
		path = "/x"
	}
	for it, err = range c.Items(t.Context(), parse(t, base+path), connectors.Access{}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	body, err := it.Open(t.Context(), off, n, nil)
	if err != nil {
		return it, "", err
	}
	b, err := io.ReadAll(body)
	return it, string(b), errors.Join(err, body.Close())
}
