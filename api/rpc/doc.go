// Package rpc serves the part of Kubo's HTTP API (/api/v0) that programs use to
// move content: add, cat, ls, blocks, CARs, pins, and a look at the repository and
// the peers. Tools made for Kubo work with a node when they know its token.
//
//  1. A request is let in by method, token and what a browser would say of itself.
//  2. Its options are compared with the table of commands: one that is not served
//     is an error, never ignored.
//  3. The command asks the node's own API (package control) or the store.
//
// It knows nothing of flags, listeners and where the token is kept.
//
// Invariants:
//
//   - Without the token nothing is done and nothing is told.
//   - Errors are {"Message","Code","Type"}, and the trailer X-Stream-Error once an
//     answer has begun.
//   - Uploads stream: memory is bounded by windows and by the count of names.
package rpc
