// Package hf turns references to repositories of a Hugging Face Hub, or of a
// server that speaks its API, into items.
//
//  1. The revision becomes a commit with one request; every later URL names the
//     commit, so that one reference never mixes two snapshots. A revision of 40
//     hex digits is a commit already and is not asked for.
//  2. Named files cost one paths-info request for every 500 of them, patterns
//     cost the pages of the tree. Both tell size and digest: there is no HEAD
//     and no request for each file before its bytes are fetched.
//     Files that are named at a commit and stored already cost nothing.
//  3. An item carries the sha256 of its content (large files) or git's sha1 of
//     it (small ones), and a key that names these very bytes for ever.
//
// The token goes to the endpoint's own origin and nowhere else. Listings are
// hostile input: names are checked, sizes and digests must look like such, and
// answers are bounded. A pointer of git LFS is never taken for content.
//
// The package knows nothing of stores and jobs; how bytes move is httpconn's.
package hf
