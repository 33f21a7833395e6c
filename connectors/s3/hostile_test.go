package s3

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/internal/humanize"
	"github.com/hypha-node/hypha-node/internal/safename"
)

// TestHostileListing: lies of a listing end it with an error of the origin.
func TestHostileListing(t *testing.T) {
	entry := func(key, more string) string { return "<Contents><Key>" + key + "</Key>" + more + "</Contents>" }
	sized := "<Size>1</Size>"
	for name, text := range map[string]string{
		"no XML":                "{}",
		"a page for people":     "<html><body>log in</body></html>",
		"an error with 200":     "<Error><Code>SlowDown</Code></Error>",
		"cut":                   "<ListBucketResult><Contents><Key>p/a",
		"another prefix":        "<ListBucketResult>" + entry("q/a", sized) + "</ListBucketResult>",
		"no size":               "<ListBucketResult>" + entry("p/a", "") + "</ListBucketResult>",
		"negative size":         "<ListBucketResult>" + entry("p/a", "<Size>-1</Size>") + "</ListBucketResult>",
		"endless size":          "<ListBucketResult>" + entry("p/a", "<Size>99999999999999999999</Size>") + "</ListBucketResult>",
		"bad escape":            "<ListBucketResult><EncodingType>url</EncodingType>" + entry("p/%zz", sized) + "</ListBucketResult>",
		"goes on nowhere":       "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>",
		"goes on for ever":      "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken></ListBucketResult>",
		"entity":                `<!DOCTYPE x [<!ENTITY a "p/aaaa">]><ListBucketResult>` + entry("&a;", sized) + "</ListBucketResult>",
		"deep":                  "<ListBucketResult>" + strings.Repeat("<a>", 20_000) + "</ListBucketResult>",
		"larger than any":       "<ListBucketResult>" + strings.Repeat(" ", maxPage) + "</ListBucketResult>",
		"another character set": `<?xml version="1.0" encoding="utf-16"?><ListBucketResult></ListBucketResult>`,
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t, &bucket{answer: func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }})
			items, err := resolve(t, connect(t, b, nil), parse(t, `"s3://lab@bkt/p/"`))
			if !errors.Is(err, connectors.ErrUpstream) || len(items) > 0 {
				t.Errorf("%d items, %v", len(items), err)
			}
		})
	}
	for _, name := range []string{"../a", "/a", "a//b", "a/./b", "a\x01", "C:\\x", "a/../../b"} {
		b := open(t, &bucket{answer: func(w http.ResponseWriter, _ *http.Request) {
			_, _ = fmt.Fprintf(w, "<ListBucketResult><EncodingType>url</EncodingType>%s</ListBucketResult>", entry("p/"+url.QueryEscape(name), sized))
		}})
		items, err := resolve(t, connect(t, b, nil), parse(t, `"s3://lab@bkt/p/"`))
		if !errors.Is(err, connectors.ErrInvalid) || len(items) > 0 {
			t.Errorf("%q: %d items, %v", name, len(items), err)
		}
	}
}

// FuzzPage gives the parser of listings anything: what becomes an item is safe
// to make a file of, and is asked for under the very key that was listed.
func FuzzPage(f *testing.F) {
	f.Add([]byte("<ListBucketResult><Contents><Key>p/a b</Key><Size>1</Size><ETag>&quot;x&quot;</ETag></Contents></ListBucketResult>"))
	f.Add([]byte("<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken><Contents><Key>p/a%2Bb+c</Key><Size>1</Size></Contents></ListBucketResult>"))
	f.Add([]byte("<ListBucketResult><Contents><Key>p/../b</Key><Size>-1</Size></Contents></ListBucketResult>"))
	a := newAccount("lab", Endpoint{URL: "http://s3.test"}, Keys{}, true)
	q := &query{account: a, ref: connectors.Ref{Type: connectors.TypeS3, Bucket: "bkt", Prefix: "p/", HasPrefix: true}}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePage(b, "p/")
		if err != nil {
			return
		}
		if p.IsTruncated != (p.Next != "") {
			t.Errorf("truncated %t, next %q", p.IsTruncated, p.Next)
		}
		for _, e := range p.Contents {
			it, err := q.listedItem(e.Key[len("p/"):], e)
			if err != nil {
				continue
			}
			if safename.Path(it.Path) != nil || it.Size < 0 {
				t.Errorf("item is %+v", it)
			}
			u, err := url.Parse(q.url(e.Key, "", "x"))
			if err != nil || u.Host != "s3.test" || u.Path != "/bkt/"+e.Key || u.RawQuery != "" || u.Fragment != "" {
				t.Errorf("URL of %q is %v, %v", e.Key, u, err)
			}
		}
	})
}

// FuzzReason gives the parser of errors anything: it takes no more than it should.
func FuzzReason(f *testing.F) {
	f.Add("<Error><Code>NoSuchKey</Code><Message>m</Message><Region>r</Region></Error>")
	f.Add("<html>")
	f.Fuzz(func(t *testing.T, text string) {
		got := parseReason(strings.NewReader(text))
		if line := humanize.Line(got.Message); strings.ContainsAny(line, "\n\r\x00") || len(line) > 210 {
			t.Errorf("message is %q", line)
		}
	})
}
