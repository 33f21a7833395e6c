package httpconn

import (
	"context"
	"net/http"
	"net/url"
)

// place is where redirects have led to: the URL that gave an answer, with the
// credentials that went there.
type place struct {
	url    *url.URL
	secret http.Header
}

// placeOf returns where an answer came from. Of the credentials, and of what a
// user in the URL has become, it keeps what was sent there.
func placeOf(resp *http.Response, secret http.Header) place {
	p := place{url: resp.Request.URL, secret: http.Header{}}
	keep := func(name string) {
		if values := resp.Request.Header.Values(name); len(values) > 0 {
			p.secret[http.CanonicalHeaderKey(name)] = values
		}
	}
	keep("Authorization")
	for name := range secret {
		keep(name)
	}
	return p
}

// is tells whether nothing has redirected from a URL to the place.
func (p place) is(asked string) bool {
	u, err := url.Parse(asked)
	return err == nil && sameOrigin(u, p.url) && u.EscapedPath() == p.url.EscapedPath() && u.RawQuery == p.url.RawQuery
}

// signpost sends requests for one URL straight to where it has led before, so
// that a content in many parts is not resolved for each of them. It may be used
// concurrently.
type signpost struct {
	client *Client
	turn   chan struct{} // a token: held by who asks or changes the place
	now    place
	age    int // how often it has changed
}

// newSignpost returns a signpost to a place.
func newSignpost(c *Client, p place) *signpost {
	return &signpost{client: c, turn: make(chan struct{}, 1), now: p}
}

// send sends a request to the place. If that denies it, the place may have
// expired, as signed URLs do: the request's own URL is asked, by one of those who
// find out, and where that leads is the place for all from then on.
func (s *signpost) send(ctx context.Context, r Request) (*http.Response, error) {
	if r.Sign != nil {
		return s.client.Do(ctx, r) // follows no redirect
	}
	at, age, err := s.ask(ctx)
	if err != nil {
		return nil, err
	}
	resp, err := s.direct(ctx, r, at)
	if err != nil || !denied(resp) || at.is(r.URL) {
		return resp, err
	}
	drain(resp)
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if s.age != age {
		at = s.now
		<-s.turn
		return s.direct(ctx, r, at)
	}
	defer func() { <-s.turn }()
	resp, err = s.client.Do(ctx, r)
	if err == nil && !denied(resp) {
		s.now, s.age = placeOf(resp, r.Secret), age+1
	}
	return resp, err
}

// ask returns the place, and how often it has changed.
func (s *signpost) ask(ctx context.Context) (at place, age int, err error) {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return at, 0, context.Cause(ctx)
	}
	defer func() { <-s.turn }()
	return s.now, s.age, nil
}

// direct sends a request to a place instead of its own URL.
func (s *signpost) direct(ctx context.Context, r Request, at place) (*http.Response, error) {
	r.URL, r.Secret = at.url.String(), at.secret
	return s.client.Do(ctx, r)
}
