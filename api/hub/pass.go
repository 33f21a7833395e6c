package hub

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"

	"github.com/hypha-node/hypha-node/connectors"
)

// What is passed on as it comes from the upstream, for a client that wants to look
// into a file and not to have it: the header of weights, the footer of a table.
const (
	shortRange = 1 << 20        // bytes, at most
	longFile   = 4 * shortRange // bytes, at least: a shorter one is fetched as fast
	maxPassed  = 4              // ranges of one file; who wants more wants the file
	maxCounted = 4096           // files that are counted
)

// peeks counts the short ranges of files that were passed on.
type peeks struct {
	mu sync.Mutex
	n  map[string]int // by key of the item
}

// take counts one more of a file, unless there were enough.
func (p *peeks) take(key string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n == nil || p.n[key] == 0 && len(p.n) >= maxCounted {
		p.n = make(map[string]int)
	}
	if p.n[key] >= maxPassed {
		return false
	}
	p.n[key]++
	return true
}

// isShort tells whether a piece may be passed on.
func (p piece) isShort() bool {
	return p.ranged && p.end-p.off <= shortRange && p.size >= longFile
}

// pass answers with a short range of a file that is not stored, not verified: the
// upstream publishes a digest of the whole alone, and nobody wants that. Nothing
// is kept. An error says that nothing was sent.
func (s *Server) pass(out *client, r *http.Request, it connectors.Item, p piece) error {
	body, err := it.Open(r.Context(), p.off, p.end-p.off, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	if body.Size >= 0 && body.Size != p.size {
		return wrongAnswer(fmt.Sprintf("%d bytes, it was listed with %d", body.Size, p.size))
	}
	part := make([]byte, p.end-p.off)
	if _, err := io.ReadFull(body, part); err != nil {
		return fmt.Errorf("%w: range of %s: %w", connectors.ErrUpstream, it.URL, err)
	}
	p.begin(out)
	if _, err := out.Write(part); err != nil {
		s.cfg.Logger.DebugContext(r.Context(), "client has gone", slog.Any("error", err))
	}
	return nil
}
