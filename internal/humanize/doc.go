// Package humanize writes sizes and times as people read them, reads sizes as
// people write them, and makes text from outside harmless for a terminal. It
// knows nothing of what is measured.
package humanize
