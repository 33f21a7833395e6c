package hubtest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Fault is something that goes wrong on purpose. Exactly one kind should be set.
type Fault struct {
	Path  string // the request's path contains it; "" means any
	CDN   bool   // requests to the CDN
	CAS   bool   // requests to the Xet storage; if neither, those to the hub
	Times int    // how many requests it befalls; 0 means all
	After int    // how many requests pass before

	Status     int    // answer with this status, nothing else
	Code       string // X-Error-Code beside Status
	RetryAfter string // Retry-After beside Status
	Exhausted  int    // beside Status: RateLimit says that nothing is left for so many seconds

	Corrupt bool // the byte at offset At is flipped
	Cut     bool // the connection is closed before the byte at offset At
	Stall   bool // nothing more is sent from offset At on
	At      int64
}

// planted is a fault with its count.
type planted struct {
	Fault
	left int
	pass int
}

// Plant adds a fault; those planted first befall first.
func (h *Hub) Plant(f Fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = append(h.faults, &planted{Fault: f, left: f.Times, pass: f.After})
}

// ClearFaults removes all faults.
func (h *Hub) ClearFaults() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = nil
}

// fault takes the next fault that befalls a request, nil if there is none.
func (h *Hub) fault(r *http.Request, wants func(Fault) bool) *Fault {
	to := originOf(r)
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.faults {
		if p.CDN != (to == originCDN) || p.CAS != (to == originCAS) || !strings.Contains(r.URL.Path, p.Path) || !wants(p.Fault) || p.Times > 0 && p.left == 0 {
			continue
		}
		if p.pass > 0 {
			p.pass--
			continue
		}
		p.left--
		return &p.Fault
	}
	return nil
}

// originOf tells which of the origins a request is for.
func originOf(r *http.Request) origin {
	switch first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/"); first {
	case "xet-bridge-us", "xorbs":
		return originCDN
	case "v1", "v2":
		return originCAS
	}
	return originHub
}

// refuseByFault answers in the place of the hub when a fault says so.
func (h *Hub) refuseByFault(w http.ResponseWriter, r *http.Request) bool {
	f := h.fault(r, func(f Fault) bool { return f.Status != 0 })
	if f == nil {
		return false
	}
	if f.RetryAfter != "" {
		w.Header().Set("Retry-After", f.RetryAfter)
	}
	if f.Exhausted > 0 {
		w.Header().Set("RateLimit", fmt.Sprintf(`"resolvers";r=0;t=%d`, f.Exhausted))
	}
	deny(w, f.Status, f.Code, http.StatusText(f.Status))
	return true
}

// spoil returns a writer that does to a body what a fault says.
func (h *Hub) spoil(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	f := h.fault(r, func(f Fault) bool { return f.Status == 0 })
	if f == nil {
		return w
	}
	return &spoiler{ResponseWriter: w, hub: h, fault: *f, gone: r.Context().Done()}
}

// spoiler spoils a body.
type spoiler struct {
	http.ResponseWriter
	hub   *Hub
	fault Fault
	gone  <-chan struct{}
	pos   int64 // offset in the content
	begun bool
	over  bool
}

// WriteHeader finds out where in the content the body begins.
func (s *spoiler) WriteHeader(status int) {
	s.begun = true
	if rest, ok := strings.CutPrefix(s.Header().Get("Content-Range"), "bytes "); ok && status == http.StatusPartialContent {
		first, _, _ := strings.Cut(rest, "-")
		if n, err := strconv.ParseInt(first, 10, 64); err == nil {
			s.pos = n
		}
	}
	s.ResponseWriter.WriteHeader(status)
}

// Write sends what the fault lets through.
func (s *spoiler) Write(p []byte) (int, error) {
	if !s.begun {
		s.WriteHeader(http.StatusOK)
	}
	if s.over {
		return 0, http.ErrHandlerTimeout
	}
	at := s.fault.At - s.pos
	if at < 0 || at >= int64(len(p)) {
		n, err := s.ResponseWriter.Write(p)
		s.pos += int64(n)
		return n, err
	}
	if s.fault.Corrupt {
		p = append([]byte(nil), p...)
		p[at] ^= 0x20
		n, err := s.ResponseWriter.Write(p)
		s.pos += int64(n)
		return n, err
	}
	n, err := s.ResponseWriter.Write(p[:at])
	s.pos += int64(n)
	s.over = true
	if err == nil {
		err = s.end()
	}
	return n, err
}

// end ends the body: by closing the connection, or by silence.
func (s *spoiler) end() error {
	control := http.NewResponseController(s.ResponseWriter)
	if err := control.Flush(); err != nil {
		return err
	}
	if s.fault.Stall {
		select {
		case <-s.gone:
		case <-s.hub.closed:
		}
		return http.ErrHandlerTimeout
	}
	conn, _, err := control.Hijack()
	if err != nil {
		return err
	}
	if err := conn.Close(); err != nil {
		return err
	}
	return http.ErrHandlerTimeout
}

// admit counts a request against its window, tells what is left of it, and
// answers 429 when nothing is.
func (h *Hub) admit(w http.ResponseWriter, kind string) bool {
	const length = 300 * time.Second
	limit := map[string]int{"api": 500, "resolvers": 3000}[kind]
	if h.cfg.Quota > 0 {
		limit = h.cfg.Quota
	}
	now := h.cfg.Now()
	h.mu.Lock()
	if now.Sub(h.window) >= length {
		h.window = now
		clear(h.used)
	}
	h.used[kind]++
	left := limit - h.used[kind]
	reset := int(h.window.Add(length).Sub(now) / time.Second)
	h.mu.Unlock()
	over := left < 0 && h.cfg.Quota > 0
	w.Header().Set("RateLimit", fmt.Sprintf(`"%s";r=%d;t=%d`, kind, max(0, left), max(1, reset)))
	w.Header().Set("RateLimit-Policy", fmt.Sprintf(`"fixed window";"%s";q=%d;w=300`, kind, limit))
	if over {
		deny(w, http.StatusTooManyRequests, "", "We had to rate limit your IP.")
	}
	return !over
}
