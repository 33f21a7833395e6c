package httpconn

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/hypha-node/hypha-node/connectors"
)

// isShared tells whether an answer's entity tag names its content, whoever asks: it is
// a strong one, and the content is not chosen by credentials (RFC 9111, section 4.1).
func isShared(h http.Header) bool {
	if !strings.HasPrefix(h.Get("ETag"), `"`) {
		return false
	}
	for _, line := range h.Values("Vary") {
		for field := range strings.SplitSeq(line, ",") {
			switch strings.ToLower(strings.TrimSpace(field)) {
			case "*", "authorization", "cookie":
				return false
			}
		}
	}
	return true
}

// same asks whether a target's content is, for its own credential, what meta is of.
// How long that was called immutable does not count: it was said to somebody else.
func (c *Client) same(ctx context.Context, t Target, meta []byte) error {
	since := validator{ETag: parseMeta(meta).ETag}
	if since.strong() == "" {
		return connectors.ErrChanged
	}
	body, err := c.Open(ctx, t, 0, 1, since.meta())
	if errors.Is(err, connectors.ErrNotModified) {
		return nil
	}
	if err != nil {
		return err
	}
	_ = body.Close() // of a byte that nobody wants
	return connectors.ErrChanged
}
