// Package connectors defines what a source of files is: a reference is turned
// into items (names, sizes, identities, no content), and an item's bytes are
// opened by range.
//
// The sub-packages are the sources: http and hf fetch from origins, ipfs from
// the store and from peers; ingest takes what they open into the store. This
// package knows nothing of them, nor of jobs, blocks or networks: it only
// parses references, which are hostile input.
//
// Invariants:
//
//   - A Ref that ParseURI or UnmarshalJSON returned is valid: its host is a
//     host, its names are safe below a directory, its scheme is allowed.
//     Whether an address may be dialled is decided when it is dialled.
//   - Secrets (Ref.Token, Ref.Headers, user names and query strings of URLs)
//     are printed by no verb of fmt, no JSON and no log.
//   - Every refusal wraps ErrInvalid or ErrUnsupported and names the field.
package connectors
