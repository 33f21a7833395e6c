//go:build !race

package blockstore

// slow is how many times fewer rounds tests run under the race detector.
const slow = 1
