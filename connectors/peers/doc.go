// Package peers moves files from job to job: a sender offers a stored file to
// named peers, and each receiver pulls what it lacks from the sender and from
// the other receivers.
//
// It knows nothing of jobs, inboxes and work directories: a Receiver judges each
// offer before a byte moves and keeps what arrived.
//
// Invariants
//
//  1. The sender of an offer is the authenticated peer of its connection, never
//     what a message says.
//  2. What a Receiver is given to keep is stored durably and hashed to the
//     offered root, size and sha256.
//  3. Blocks are served only to peers that take part in a transfer of them.
package peers
