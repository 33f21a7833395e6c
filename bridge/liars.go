package bridge

import "sync"

// maxLiars is how many are remembered: an id costs nothing, and who lies under ever
// new ones is not kept out by a list.
const maxLiars = 1024

// liars are peers whose content was not what they offered. The job takes nothing
// more from them while the node runs.
type liars struct {
	mu  sync.Mutex
	all map[string]struct{} // by peer id
}

func (l *liars) add(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil || len(l.all) >= maxLiars {
		l.all = make(map[string]struct{})
	}
	l.all[id] = struct{}{}
}

func (l *liars) has(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.all[id]
	return ok
}
