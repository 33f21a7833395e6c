package xet

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
)

// Name is what this way to a file's bytes is called.
const Name = "xet"

// Client reads files. It is safe for concurrent use.
type Client struct {
	http   *httpconn.Client
	now    func() time.Time
	tokens tokens
}

// New returns a client that sends its requests with another one: there they are
// guarded, limited and watched.
func New(client *httpconn.Client) *Client { return &Client{http: client, now: time.Now} }

// File is a file of a repository at a commit.
type File struct {
	Hash     string      // of the file: 64 hex digits
	URL      string      // for people and errors
	TokenURL string      // where the hub gives the token
	Secret   http.Header // the hub's credential, for TokenURL's own origin
	Operator bool        // on behalf of the operator: no address is refused
	Explain  httpconn.Explain
}

// Transport returns the way to the bytes of a file.
func (c *Client) Transport(f File) httpconn.Transport {
	return &file{File: f, client: c, key: keyOf(f)}
}

// file is a File with who reads it.
type file struct {
	File
	client *Client
	key    string // of its tokens
}

var _ httpconn.Transport = (*file)(nil)

// Name names the transport.
func (f *file) Name() string { return Name }

// Open opens the bytes from off to end. It returns when those of the first xorb
// are there to be read. Errors are *connectors.Error.
func (f *file) Open(ctx context.Context, off, end int64) (*httpconn.Passage, error) {
	b := newBody(ctx, f, off, end)
	if err := b.begin(); err != nil {
		_ = b.Close() // nothing was read
		if !isConnector(err) && ctx.Err() == nil {
			err = f.upstream("open", err)
		}
		return nil, err
	}
	return &httpconn.Passage{ReadCloser: b, Host: b.host, Lead: b.lead}, nil
}

// plan asks the storage of what a range of the file is made.
func (f *file) plan(ctx context.Context, off, end int64) (*plan, error) {
	body, err := f.reconstruction(ctx, "v2", off, end)
	if ce, ok := errors.AsType[*connectors.Error](err); ok && (ce.Status == http.StatusNotFound || ce.Status == http.StatusNotImplemented) {
		body, err = f.reconstruction(ctx, "v1", off, end)
	}
	if err != nil {
		return nil, err
	}
	p, err := parsePlan(body, end-off)
	if err != nil {
		return nil, f.upstream("open", err)
	}
	return p, nil
}

// reconstruction asks for one version of the answer, with a new token if the
// storage does not take the one there is.
func (f *file) reconstruction(ctx context.Context, version string, off, end int64) ([]byte, error) {
	for again := false; ; again = true {
		t, err := f.token(ctx)
		if err != nil {
			return nil, err
		}
		body, _, err := f.client.http.FetchOnce(ctx, httpconn.Request{
			URL:      t.cas + "/" + version + "/reconstructions/" + f.Hash,
			Header:   http.Header{"Accept": {"application/json"}, "Range": {fmt.Sprintf("bytes=%d-%d", off, end-1)}},
			Secret:   t.header(),
			Operator: f.Operator,
		}, maxAnswer, f.explainCAS)
		ce, ok := errors.AsType[*connectors.Error](err)
		if !ok || ce.Status != http.StatusUnauthorized || again {
			return body, err
		}
		f.client.tokens.drop(f.key, t)
	}
}

// explainCAS makes every refusal of the storage one of the origin: what the file
// is, and who may have it, is the hub's to say.
func (f *file) explainCAS(resp *http.Response) *connectors.Error {
	return f.upstream("open", fmt.Errorf("the storage answered %d %s", resp.StatusCode, strings.ToLower(http.StatusText(resp.StatusCode))))
}

// xorb asks for what a URL was signed for, or for one of its ranges. The answer
// is a success.
func (f *file) xorb(ctx context.Context, address, ranges string) (*http.Response, error) {
	resp, err := f.client.http.Do(ctx, httpconn.Request{URL: address, Header: http.Header{"Range": {ranges}}, Operator: f.Operator})
	if err != nil {
		return nil, f.nameless(err)
	}
	switch {
	case resp.StatusCode != http.StatusPartialContent && resp.StatusCode >= http.StatusBadRequest:
		err := httpconn.Refusal(f.URL, resp, f.explainXorb)
		return nil, err
	case resp.StatusCode != http.StatusPartialContent:
		err = fmt.Errorf("%w: the storage answered %d to a request for ranges", errParts, resp.StatusCode)
	case resp.Header.Get("Content-Encoding") != "" && resp.Header.Get("Content-Encoding") != "identity":
		err = fmt.Errorf("%w: the answer came encoded although identity was asked for", errParts)
	default:
		return resp, nil
	}
	_ = resp.Body.Close() // nobody wants it
	return nil, f.upstream("open", err)
}

// explainXorb is explainCAS for what a signed URL leads to.
func (f *file) explainXorb(resp *http.Response) *connectors.Error {
	return f.upstream("open", fmt.Errorf("a signed URL of the storage answered %d %s", resp.StatusCode, strings.ToLower(http.StatusText(resp.StatusCode))))
}

// nameless takes a signed URL out of an error: it is a credential.
func (f *file) nameless(err error) error {
	ce, ok := errors.AsType[*connectors.Error](err)
	if !ok {
		return err
	}
	other := *ce
	other.Source = connectors.RedactURL(f.URL)
	return &other
}

// upstream returns the failure of an origin.
func (f *file) upstream(op string, err error) *connectors.Error {
	return &connectors.Error{Op: op, Source: connectors.RedactURL(f.URL), Err: fmt.Errorf("%w: %w", connectors.ErrUpstream, err)}
}

// hostOf returns the host of a URL that was parsed before.
func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}
