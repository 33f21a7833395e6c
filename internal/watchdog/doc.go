// Package watchdog breaks reads that hang.
//
// Go's HTTP client has no limit on how long a body may stay silent, and a limit
// on the whole transfer would break large files on slow links. A Reader here
// limits the silence only: when Reads wait longer than the limit for a few bytes,
// the source is closed and the Read fails. A source that drips is as good as silent.
//
// It knows nothing of what it reads. Time during which nobody reads does not
// count: a slow consumer is no fault of the source.
package watchdog
