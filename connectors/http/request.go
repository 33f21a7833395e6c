package httpconn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/internal/netguard"
	"github.com/hypha-node/hypha-node/internal/watchdog"
)

// maxRedirects is how many redirects one request follows.
const maxRedirects = 10

// maxDrain is how much of an unwanted body is read to keep its connection: bytes.
const maxDrain = 64 << 10

// Request is one exchange with an origin.
type Request struct {
	Method   string      // "" means GET
	URL      string      // absolute, http or https
	Header   http.Header // sent on every hop
	Secret   http.Header // credentials and custom headers: sent to the URL's own origin only
	Body     []byte      // sent again when a redirect keeps the method
	Operator bool        // on behalf of the operator: no address is refused
	Sign     Sign        // nil: not signed
	// Stop tells that an answer is wanted although it redirects. Nil: none is.
	Stop func(*http.Response) bool

	// Stream opens a body of Length bytes that is too large for memory, instead
	// of Body. It is opened for every attempt, and may still be read for a moment
	// after the answer.
	Stream func() io.Reader
	Length int64 // bytes
}

// Sign adds the credential of one request that is about to be sent, made for
// this very request: every attempt is signed anew. Its error, one of package
// connectors, refuses the request. A signature is for one address: where a
// signed request is redirected it does not follow, the redirect is the answer.
type Sign func(*http.Request) error

// Do sends a request and follows its redirects; it does not retry, and answers
// of any status are no error. The body gives up when it stalls; the caller
// closes it. resp.Request.URL is where the answer came from. Errors are
// *connectors.Error.
func (c *Client) Do(ctx context.Context, r Request) (*http.Response, error) {
	u, err := url.Parse(r.URL)
	if err != nil {
		return nil, fail("open", r.URL, fmt.Errorf("%w: no URL", connectors.ErrInvalid))
	}
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	secret := maps.Clone(r.Secret)
	if u.User != nil {
		secret, u = withBasicAuth(secret, u)
	}
	first := u
	for range maxRedirects + 1 {
		resp, err := c.hop(ctx, r, u, secret)
		if err != nil {
			return nil, classify(ctx, r.URL, err)
		}
		if r.Sign != nil {
			return resp, nil
		}
		next, err := target(u, resp)
		if next == nil && err == nil || r.Stop != nil && r.Stop(resp) {
			return resp, nil
		}
		drain(resp)
		if err != nil {
			return nil, fail("open", r.URL, err)
		}
		if !sameOrigin(first, next) {
			// For good: a way back may be the other origin's idea.
			secret = nil
		}
		if keeps := resp.StatusCode == http.StatusTemporaryRedirect || resp.StatusCode == http.StatusPermanentRedirect; !keeps && r.Method != http.MethodHead {
			r.Method, r.Body, r.Stream = http.MethodGet, nil, nil
		}
		u = next
	}
	return nil, fail("open", r.URL, fmt.Errorf("%w: more than %d redirects", finalUpstream{}, maxRedirects))
}

// hop sends one request to one URL.
func (c *Client) hop(ctx context.Context, r Request, u *url.URL, secret http.Header) (*http.Response, error) {
	var body io.Reader = bytes.NewReader(r.Body)
	if r.Stream != nil {
		body = r.Stream()
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("%w: no URL", connectors.ErrInvalid)
	}
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	req.Header.Set("Accept-Encoding", "identity")
	maps.Copy(req.Header, r.Header)
	maps.Copy(req.Header, secret)
	switch {
	case r.Stream != nil && r.Length > 0:
		req.ContentLength = r.Length
	case r.Stream != nil:
		req.Body = http.NoBody
	case r.Body == nil:
		req.Body, req.GetBody, req.ContentLength = nil, nil, 0
		req.Header.Del("Content-Type")
	}
	if r.Sign != nil {
		if err := r.Sign(req); err != nil {
			return nil, err
		}
	}
	transport := c.own
	if !r.Operator {
		transport = c.jobs
		if req, err = c.guardProxy(req); err != nil {
			return nil, err
		}
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	resp.Body = c.limitBody(ctx, watchdog.New(resp.Body, c.cfg.Stall, leastMoved))
	return resp, nil
}

// guardProxy lets a request that goes through the operator's proxy dial the
// proxy, after a look at the target's literal host: the proxy resolves names.
func (c *Client) guardProxy(req *http.Request) (*http.Request, error) {
	proxy, err := c.cfg.Proxy(req)
	if err != nil || proxy == nil {
		return req, err
	}
	ctx, err := c.policy.WithProxy(req.Context(), hostPort(proxy), req.URL.Hostname(), portOf(req.URL))
	if err != nil {
		return nil, err
	}
	return req.WithContext(ctx), nil
}

// target returns where an answer redirects to, nil if it doesn't.
func target(from *url.URL, resp *http.Response) (*url.URL, error) {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, nil //nolint:nilnil // no redirect is no error
	}
	location := resp.Header.Get("Location")
	if location == "" {
		return nil, fmt.Errorf("%w: redirect without a location", finalUpstream{})
	}
	next, err := from.Parse(location)
	if err != nil {
		return nil, fmt.Errorf("%w: redirect to what is no URL", finalUpstream{})
	}
	next.User = nil
	switch {
	case next.Scheme != "http" && next.Scheme != "https", next.Hostname() == "":
		return nil, fmt.Errorf("%w: redirect to %s", connectors.ErrForbidden, connectors.RedactURL(next.String()))
	case from.Scheme == "https" && next.Scheme == "http":
		return nil, fmt.Errorf("%w: redirect from https to http", connectors.ErrForbidden)
	}
	return next, nil
}

// withBasicAuth moves the user of a URL into the credentials.
func withBasicAuth(secret http.Header, u *url.URL) (http.Header, *url.URL) {
	plain := *u
	plain.User = nil
	password, _ := u.User.Password()
	carrier := http.Request{Header: http.Header{}}
	carrier.SetBasicAuth(u.User.Username(), password)
	maps.Copy(carrier.Header, secret)
	return carrier.Header, &plain
}

// sameOrigin tells whether two URLs agree in scheme, host and port.
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && portOf(a) == portOf(b)
}

// portOf returns the port of a URL, the scheme's own if none is written.
func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	switch u.Scheme {
	case "https":
		return "443"
	case "socks5", "socks5h":
		return "1080"
	}
	return "80"
}

// hostPort returns "host:port" as net/http dials it.
func hostPort(u *url.URL) string { return net.JoinHostPort(u.Hostname(), portOf(u)) }

// drain closes an answer whose body nobody wants; a short one is read to its
// end, so that its connection can be used again. What goes wrong there concerns
// nobody.
func drain(resp *http.Response) {
	if resp.ContentLength >= 0 && resp.ContentLength <= maxDrain {
		_, _ = io.Copy(io.Discard, resp.Body) //nolint:errcheck // see above
	}
	_ = resp.Body.Close()
}

// classify turns an error of the transport into one of this module; what the
// caller's context did stays as it is.
func classify(ctx context.Context, source string, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch {
	case errors.Is(err, netguard.ErrRefused):
		refused := fail("open", source, fmt.Errorf("%w: %w", connectors.ErrForbidden, cause(err)))
		refused.Hint = "the operator can allow private networks with --http-allow CIDR"
		return refused
	case errors.Is(err, connectors.ErrInvalid), errors.Is(err, connectors.ErrUnauthorized):
		return fail("open", source, err)
	}
	return fail("open", source, fmt.Errorf("%w: %w", connectors.ErrUpstream, err))
}

// cause returns the refusal inside an error, without the dialler's prose.
func cause(err error) error {
	if refused, ok := errors.AsType[*netguard.RefusedError](err); ok {
		return refused
	}
	return err
}

// fail returns an Error whose source holds no credentials.
func fail(op, source string, err error) *connectors.Error {
	return &connectors.Error{Op: op, Source: connectors.RedactURL(source), Err: err}
}
