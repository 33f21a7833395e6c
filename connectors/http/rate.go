package httpconn

import (
	"context"
	"io"
	"math"

	"golang.org/x/time/rate"
)

// Bounds of what a limited body reads at once: bytes. Small enough that many
// connections share the rate evenly, large enough to cost nothing.
const minGulp, maxGulp = 4 << 10, 256 << 10

// newLimiter returns a limiter of so many bytes per second, nil for no limit. It
// lets a tenth of a second pass at once.
func newLimiter(perSecond int64) *rate.Limiter {
	if perSecond <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(perSecond), int(min(max(minGulp, perSecond/10), math.MaxInt32)))
}

// throttled tells whether content that comes at a rate, in bytes per second, is
// held back by the client's own limit.
func (c *Client) throttled(perSecond float64) bool {
	return c.limit != nil && perSecond > 0.8*float64(c.limit.Limit())
}

// limited is a body that all other bodies of the client share a rate with.
type limited struct {
	io.ReadCloser
	limit *rate.Limiter
	wait  func(n int) error
}

// limitBody holds a body to the client's rate, if it has one. The waits end with ctx.
func (c *Client) limitBody(ctx context.Context, body io.ReadCloser) io.ReadCloser {
	if c.limit == nil {
		return body
	}
	return &limited{ReadCloser: body, limit: c.limit, wait: func(n int) error { return c.limit.WaitN(ctx, n) }}
}

// Read reads, then waits until that much may have been read.
func (l *limited) Read(p []byte) (int, error) {
	n, err := l.ReadCloser.Read(p[:min(len(p), l.limit.Burst(), maxGulp)])
	if werr := l.wait(n); werr != nil && err == nil {
		err = werr
	}
	return n, err
}
