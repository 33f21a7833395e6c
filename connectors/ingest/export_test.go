package ingest

// Waiting returns how many calls wait for flights, and how many flights there are.
func (e *Engine) Waiting() (calls, flights int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range e.flights {
		f.mu.Lock()
		calls += len(f.watchers)
		f.mu.Unlock()
	}
	return calls, len(e.flights)
}
