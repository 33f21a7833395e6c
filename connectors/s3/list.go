package s3

import (
	"context"
	"encoding/xml"
	"fmt"
	"net/url"
	"strings"

	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
	"github.com/hypha-node/hypha-node/internal/fnmatch"
	"github.com/hypha-node/hypha-node/internal/humanize"
	"github.com/hypha-node/hypha-node/internal/safename"
)

// Bounds of what is believed to be a listing.
const (
	maxPage  = 16 << 20 // bytes; a page holds 1,000 keys of at most 1,024 bytes, each escaped to 3
	maxPages = 100_000  // of one listing: a hundred million objects
)

// page is one answer of ListObjectsV2.
type page struct {
	XMLName      xml.Name `xml:"ListBucketResult"`
	Contents     []entry  `xml:"Contents"`
	IsTruncated  bool     `xml:"IsTruncated"`
	Next         string   `xml:"NextContinuationToken"`
	EncodingType string   `xml:"EncodingType"`
}

// entry is one object of a page.
type entry struct {
	Key  string `xml:"Key"`
	ETag string `xml:"ETag"`
	Size *int64 `xml:"Size"` // bytes
}

// listed yields the items below the prefix that the patterns choose.
func (q *query) listed(ctx context.Context, yield func(connectors.Item, error) bool) {
	// What follows the prefix' last slash belongs to the names.
	dir := q.ref.Prefix[:strings.LastIndexByte(q.ref.Prefix, '/')+1]
	found, token := false, ""
	for range maxPages {
		p, err := q.page(ctx, token)
		if err != nil {
			yield(connectors.Item{}, err)
			return
		}
		for _, e := range p.Contents {
			name := e.Key[len(dir):]
			// A key that ends in a slash stands for a directory, for tools that want some.
			if strings.HasSuffix(e.Key, "/") || name == "" || !fnmatch.Select(name, q.ref.Allow, q.ref.Ignore) {
				continue
			}
			found = true
			it, err := q.listedItem(name, e)
			if !yield(it, err) || err != nil {
				return
			}
		}
		if token = p.Next; token == "" {
			if !found {
				yield(connectors.Item{}, q.refusal(fmt.Errorf("%w: there is no such object", connectors.ErrNotFound), ""))
			}
			return
		}
	}
	yield(connectors.Item{}, q.upstream("the listing has more than %d pages", maxPages))
}

// listedItem makes an item of an entry of a page.
func (q *query) listedItem(name string, e entry) (connectors.Item, error) {
	if err := safename.Path(name); err != nil {
		refused := q.refusal(fmt.Errorf("%w: key %q can't be a file: %w", connectors.ErrInvalid, e.Key, err),
			"leave it out with ignore_patterns, or fetch it by its key with a filename")
		return connectors.Item{}, refused
	}
	return q.item(name, object{key: e.Key, size: *e.Size, etag: strongTag(e.ETag)}), nil
}

// page fetches the page that a token of the one before it names.
func (q *query) page(ctx context.Context, token string) (p page, err error) {
	fields := url.Values{"list-type": {"2"}, "max-keys": {"1000"}, "encoding-type": {"url"}, "prefix": {q.ref.Prefix}}
	if token != "" {
		fields.Set("continuation-token", token)
	}
	var body []byte
	err = q.retry(func(region string) error {
		r := httpconn.Request{URL: q.account.base(q.ref.Bucket, region) + "/?" + fields.Encode()}
		body, _, err = q.fetch(ctx, r, region, maxPage)
		return err
	})
	if err != nil {
		return page{}, err
	}
	if p, err = parsePage(body, q.ref.Prefix); err != nil {
		return page{}, q.upstream("a listing is refused: %w", err)
	}
	if p.Next == token && token != "" {
		return page{}, q.upstream("the next page of the listing is the page itself")
	}
	return p, nil
}

// parsePage reads a page of the keys below a prefix: its keys begin with the
// prefix, its sizes are known, and Next is set if there is more.
func parsePage(body []byte, prefix string) (page, error) {
	var p page
	if err := xml.Unmarshal(body, &p); err != nil {
		return page{}, fmt.Errorf("it is no XML of that shape: %w", err)
	}
	for i := range p.Contents {
		e := &p.Contents[i]
		if p.EncodingType == "url" {
			key, err := url.QueryUnescape(e.Key)
			if err != nil {
				return page{}, fmt.Errorf("key %q holds a bad escape", humanize.Line(e.Key))
			}
			e.Key = key
		}
		switch {
		case !strings.HasPrefix(e.Key, prefix):
			return page{}, fmt.Errorf("key %q does not begin with the prefix", humanize.Line(e.Key))
		case e.Size == nil || *e.Size < 0:
			return page{}, fmt.Errorf("key %q has no size", humanize.Line(e.Key))
		}
	}
	switch {
	case !p.IsTruncated:
		p.Next = ""
	case p.Next == "":
		return page{}, fmt.Errorf("it goes on, but does not say where")
	}
	return p, nil
}
