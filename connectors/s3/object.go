package s3

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
	"github.com/hypha-node/hypha-node/internal/humanize"
	"github.com/hypha-node/hypha-node/internal/safename"
)

// versionField tells the version of an object in a bucket that keeps several.
const versionField = "X-Amz-Version-Id"

// unnamed is the name of an object whose key has no last segment.
const unnamed = "object.bin"

// object is what is known of an object before its bytes are asked for.
type object struct {
	key     string
	size    int64  // bytes; -1 if unknown
	etag    string // with its quotes; "" if unknown
	version string // asked for; "" is the current one
	sum     *[sha256.Size]byte
}

// named returns the item of the key that the reference names. What it is like, the
// answer tells by which it is opened.
func (q *query) named() connectors.Item {
	name := q.ref.Filename
	if name == "" {
		name = safename.Clean(q.ref.Key[strings.LastIndexByte(q.ref.Key, '/')+1:], unnamed)
	}
	o := object{key: q.ref.Key, size: -1, version: q.ref.Version}
	it := q.item(name, o)
	if o.version == "" {
		it.Look = func(ctx context.Context) (connectors.Item, error) { return q.look(ctx, name, o) }
	}
	return it
}

// look asks what the object of a key is like by now, without its bytes.
func (q *query) look(ctx context.Context, name string, o object) (connectors.Item, error) {
	header, err := q.head(ctx)
	if err != nil {
		return connectors.Item{}, err
	}
	if n, err := strconv.ParseInt(header.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
		o.size = n
	}
	o.etag, o.sum = strongTag(header.Get("ETag")), wholeSum(header)
	it := q.item(name, o)
	it.Revision = humanize.Line(header.Get(versionField))
	return it, nil
}

// head returns what the endpoint says of the object that the reference names.
func (q *query) head(ctx context.Context) (header http.Header, err error) {
	err = q.retry(func(region string) error {
		r := httpconn.Request{Method: http.MethodHead, URL: q.url(q.ref.Key, "", region), Header: http.Header{"X-Amz-Checksum-Mode": {"ENABLED"}}}
		_, header, err = q.fetch(ctx, r, region, 0)
		ce, ok := errors.AsType[*connectors.Error](err)
		if _, moved := errors.AsType[*movedError](err); !ok || moved || ce.Status < http.StatusBadRequest || ce.Status >= http.StatusInternalServerError {
			return err
		}
		// Only an answer with a body says why.
		r.Method, r.Header = http.MethodGet, http.Header{"Range": {"bytes=0-0"}}
		if _, _, why := q.fetch(ctx, r, region, maxReason); why != nil {
			return why
		}
		return err
	})
	return header, err
}

// item makes an item of an object.
func (q *query) item(name string, o object) connectors.Item {
	it := connectors.Item{
		Path: name, Size: o.size, Source: "s3", URL: q.uri(o.key),
		SHA256: cmp.Or(q.ref.SHA256(), o.sum), ETag: strings.Trim(o.etag, `"`), Revision: o.version, Scope: q.scope,
	}
	// Within one key of one bucket, a version or an entity tag names the bytes.
	it.Key = q.place(o)
	switch {
	case o.version != "":
		it.Key, it.Pinned = it.Key+versioned+o.version, true
	case o.etag != "":
		it.Key, it.Pinned = it.Key+tagged+o.etag, true
	}
	it.Open = func(ctx context.Context, off, n int64, cond []byte) (*connectors.Body, error) {
		if off == 0 && it.Pinned {
			cond = nil // what the key stands for does not change: there is nothing to ask
		}
		return q.open(ctx, o, it.SHA256 != nil, off, n, cond)
	}
	return it
}

// tagged stands between the place of an object and its entity tag in a key.
const tagged = "#etag="

// place names an object wherever it is asked for, whatever its content is.
func (q *query) place(o object) string {
	return "s3:" + cmp.Or(q.account.URL, "aws") + "/" + q.ref.Bucket + "/" + o.key
}

// open opens an object, if it still is what o says.
func (q *query) open(ctx context.Context, o object, digest bool, off, n int64, cond []byte) (body *connectors.Body, err error) {
	revision := ""
	err = q.retry(func(region string) error {
		target := httpconn.Target{
			Opened: func(h http.Header) { revision = humanize.Line(h.Get(versionField)) },
			URL:    q.url(o.key, o.version, region), Secret: http.Header{"X-Amz-Checksum-Mode": {"ENABLED"}},
			Operator: true, // the address is the operator's choice, whoever asks
			Size:     o.size, Digest: digest, Explain: q.explainer(region), Sign: q.signer(region), IfMatch: true,
		}
		if o.etag != "" {
			target.Secret.Set("If-Match", o.etag)
		}
		body, err = q.client.Open(ctx, target, off, n, cond)
		return err
	})
	if err != nil {
		return nil, err
	}
	// Some servers take no notice of If-Match. An answer behind the end is of no
	// bytes and has no tag.
	if atEnd := body.ETag == "" && o.size >= 0 && off >= o.size; o.etag != "" && body.ETag != o.etag && !atEnd {
		return nil, errors.Join(q.changed(), body.Close())
	}
	if now := strongTag(body.ETag); o.version == "" && o.etag == "" && now != "" {
		body.Key, body.Revision = q.place(o)+tagged+now, revision
	}
	return body, nil
}

// url returns the address of an object, or of a version of it, in a region.
func (q *query) url(key, version, region string) string {
	address := q.account.base(q.ref.Bucket, region) + "/" + escape(key)
	if version != "" {
		address += "?versionId=" + url.QueryEscape(version)
	}
	return address
}

// uri returns the name of an object for people and logs.
func (q *query) uri(key string) string {
	named := connectors.Ref{Type: connectors.TypeS3, Endpoint: q.ref.Endpoint, Bucket: q.ref.Bucket, Key: key}
	return named.String()
}

// escape returns a key as it stands in a path: all but the unreserved
// characters and slashes is escaped, byte by byte, as a signature has it.
func escape(key string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range []byte(key) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-_.~/", c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
		}
	}
	return b.String()
}

// strongTag returns an entity tag that can be sent as If-Match, "" if s is none.
func strongTag(s string) string {
	inner, ok := strings.CutPrefix(s, `"`)
	if !ok || !strings.HasSuffix(inner, `"`) || len(s) > 1024 {
		return ""
	}
	for _, c := range []byte(inner[:len(inner)-1]) {
		if c <= ' ' || c == '"' || c >= 0x7f {
			return ""
		}
	}
	return s
}

// wholeSum returns the sha256 of an object, nil when the endpoint does not tell
// it, or tells that of the checksums of its parts.
func wholeSum(h http.Header) *[sha256.Size]byte {
	b, err := base64.StdEncoding.DecodeString(h.Get("X-Amz-Checksum-Sha256"))
	if err != nil || len(b) != sha256.Size || strings.EqualFold(h.Get("X-Amz-Checksum-Type"), "COMPOSITE") {
		return nil
	}
	return (*[sha256.Size]byte)(b)
}
