// Package hub serves the read-only part of the Hugging Face Hub's API out of the
// node's store: with HF_ENDPOINT set to it, programs that know nothing of this
// one get their models and datasets verified, once for all of them.
//
//  1. Metadata (revisions, listings, refs) is asked of the upstream hub with the
//     client's own credential, and remembered: what names a commit for good, a
//     branch for seconds, and longer while the upstream can't be reached.
//  2. A file's size and digest come from a listing that passed through here, or
//     from one HEAD of the upstream. Whether a client may have a repository is
//     asked once for each credential and commit.
//  3. Content goes through the ingest engine. What is stored is sent from the
//     store; the rest is sent while it comes in, for any number of clients from
//     one download.
//
// It knows nothing of flags, listeners and who clients are beyond their tokens.
//
// Invariants:
//
//   - The end of what is not verified yet is withheld: content that does not have
//     its digest never looks complete to a client, the connection is cut. But for
//     a few short ranges of a file that nobody has asked for as a whole: they are
//     what the upstream says, and are not kept.
//   - A token goes to the upstream's own origin and nowhere else. It is not
//     kept: records are told apart by a hash of it, and what was got with one is
//     not given to those who have not shown it.
//   - Refusals of the upstream reach the client as they are: status,
//     X-Error-Code, X-Error-Message.
//   - A client that is slow or goes away costs nobody else anything.
//   - Nothing is held whole in memory but metadata, which is bounded.
package hub
