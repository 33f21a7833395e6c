package httpconn_test

import "sync"

// memory is a bound like that of a node's budget.
type memory struct {
	mu         sync.Mutex
	room       int64 // bytes that are free
	used, most int64
	waiting    int64
}

func (m *memory) TryTake(n int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n > m.room-m.used || m.waiting > 0 {
		return false
	}
	m.used += n
	m.most = max(m.most, m.used)
	return true
}

func (m *memory) Give(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used -= n
}

func (m *memory) Waiting() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.waiting
}
