package httpconn

import "sync"

// hosts counts the connections that large contents use, by host.
type hosts struct {
	mu sync.Mutex
	n  map[string]int
}

// add counts a connection that there has to be.
func (h *hosts) add(host string) { h.try(host, 1<<30) }

// try counts one more connection, unless there are limit already.
func (h *hosts) try(host string, limit int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n[host] >= limit {
		return false
	}
	if h.n == nil {
		h.n = make(map[string]int)
	}
	h.n[host]++
	return true
}

// done takes one off.
func (h *hosts) done(host string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n[host]--; h.n[host] <= 0 {
		delete(h.n, host)
	}
}
