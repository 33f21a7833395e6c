package httpconn

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/internal/safename"
)

// unnamed is the name of a file whose URL has none.
const unnamed = "part-0.bin"

// Connector turns http and https references into one item each.
type Connector struct {
	client *Client
}

var _ connectors.Connector = (*Connector)(nil)

// New returns a connector with a client of its own; Close it.
func New(cfg Config) *Connector { return &Connector{client: NewClient(cfg)} }

// Client returns the client that the connector fetches with, for connectors
// that share its connections.
func (c *Connector) Client() *Client { return c.client }

// Close closes the connections that nobody uses.
func (c *Connector) Close() { c.client.Close() }

// Supports takes references of type uri.
func (c *Connector) Supports(ref connectors.Ref) bool { return ref.Type == connectors.TypeURI }

// Items yields the one file of the reference, without a request: its size is
// unknown until it is opened.
func (c *Connector) Items(_ context.Context, ref connectors.Ref, acc connectors.Access) iter.Seq2[connectors.Item, error] {
	return func(yield func(connectors.Item, error) bool) {
		yield(c.item(ref, acc))
	}
}

// item returns the one item of a reference.
func (c *Connector) item(ref connectors.Ref, acc connectors.Access) (connectors.Item, error) {
	u, err := url.Parse(ref.Value)
	if err != nil {
		return connectors.Item{}, &connectors.FieldError{Field: "value", Problem: "is no URL"}
	}
	name, err := nameOf(ref, u)
	if err != nil {
		return connectors.Item{}, err
	}
	target := Target{
		URL: ref.Value, Secret: secretsOf(ref), Operator: acc.Operator,
		Size: -1, Digest: ref.Checksum != "",
	}
	it := connectors.Item{
		Path:   name,
		Size:   -1,
		Source: "http",
		URL:    connectors.RedactURL(ref.Value),
		SHA256: ref.SHA256(),
		Key:    "url:" + normalURL(u),
		Scope:  scopeOf(u, target.Secret),
	}
	if ref.Checksum == "" {
		target.Check = notPage(ref.Value, name)
	}
	if it.Scope != "" {
		it.SharedKey = it.Key + "#"
		it.Key = it.SharedKey + it.Scope
		it.Same = func(ctx context.Context, meta []byte) error { return c.client.same(ctx, target, meta) }
	}
	it.Open = func(ctx context.Context, off, n int64, cond []byte) (*connectors.Body, error) {
		return c.client.Open(ctx, target, off, n, cond)
	}
	it.Large = func() (connectors.Item, bool) { return c.large(ref, acc, u, name) }
	return it, nil
}

// large returns the item of the file whose pointer a hub gives under a URL: hubs have
// pointers at /raw/ and files at /resolve/.
func (c *Connector) large(ref connectors.Ref, acc connectors.Access, u *url.URL, name string) (connectors.Item, bool) {
	before, after, ok := strings.Cut(u.EscapedPath(), "/raw/")
	if !ok {
		return connectors.Item{}, false
	}
	file := *u
	var err error
	file.RawPath = before + "/resolve/" + after
	if file.Path, err = url.PathUnescape(file.RawPath); err != nil {
		return connectors.Item{}, false
	}
	ref.Value, ref.Filename = file.String(), name
	it, err := c.item(ref, acc)
	return it, err == nil
}

// nameOf returns the name of the file: what the reference says, else the last
// segment of the path, without the query and without what is unsafe.
func nameOf(ref connectors.Ref, u *url.URL) (string, error) {
	if ref.Filename != "" {
		return ref.Filename, nil
	}
	segment, err := lastSegment(u)
	if err != nil {
		return "", &connectors.FieldError{Field: "value", Problem: "holds a bad percent escape"}
	}
	return safename.Clean(segment, unnamed), nil
}

// lastSegment returns the last segment of a URL's path, decoded.
func lastSegment(u *url.URL) (string, error) {
	escaped := u.EscapedPath()
	return url.PathUnescape(escaped[strings.LastIndexByte(escaped, '/')+1:])
}

// secretsOf returns the headers of a request that only the URL's own origin may see.
func secretsOf(ref connectors.Ref) http.Header {
	h := http.Header{}
	for name, value := range ref.Headers {
		h.Set(name, value.Reveal())
	}
	if ref.Token != "" {
		h.Set("Authorization", "Bearer "+ref.Token.Reveal())
	}
	return h
}

// normalURL returns the form of a URL under which its content is remembered:
// lower case where case means nothing, no user, no default port, no fragment.
func normalURL(u *url.URL) string {
	n := url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host), Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}
	if u.Port() == portOf(&url.URL{Scheme: u.Scheme}) {
		n.Host = strings.TrimSuffix(n.Host, ":"+u.Port())
	}
	if n.Path == "" {
		n.Path = "/"
	}
	return n.String()
}

// scopeOf returns the scope of what is fetched with these credentials: a hash
// that tells two of them apart and tells nothing of them. A signed URL is a
// credential by itself.
func scopeOf(u *url.URL, secret http.Header) string {
	sum := sha256.New()
	var any bool
	add := func(parts ...string) {
		any = true
		for _, p := range parts {
			fmt.Fprintf(sum, "%d:%s", len(p), p)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(secret)) {
		add(append([]string{name}, secret[name]...)...)
	}
	if u.User != nil {
		add("user", u.User.String())
	}
	query := u.Query()
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if isSignature(name) {
			add(append([]string{"query", name}, query[name]...)...)
		}
	}
	if !any {
		return ""
	}
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// isSignature tells whether a query parameter is what makes a URL a credential:
// those of S3, Google and Azure storage, CloudFront and of common services.
func isSignature(name string) bool {
	switch strings.ToLower(name) {
	case "x-amz-signature", "x-goog-signature", "signature", "sig", "token", "access_token", "api_key", "apikey", "key":
		return true
	}
	return false
}
