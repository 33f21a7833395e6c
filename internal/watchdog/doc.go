// Package watchdog breaks reads that hang.
//
// Go's HTTP client has no limit on how long a body may stay silent, and a limit
// on the whole transfer would break large files on slow links. A Reader here
// limits the silence only: when one Read waits longer than the limit, the
// source is closed and the Read fails.
//
// It knows nothing of what it reads. Time during which nobody reads does not
// count: a slow consumer is no fault of the source.
package watchdog
