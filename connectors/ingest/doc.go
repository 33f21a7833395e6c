// Package ingest takes what connectors offer into the store: one engine for
// items of every kind of source.
//
// What happens to one item, in one flight that all who want the same share:
//
//  1. The store is asked for the item by what is known of it, strongest first:
//     root, sha256, git sha1, pinned key. A hit costs no request, unless it is
//     private to others: then the source is asked whether those who ask now may
//     have it, too.
//  2. Else an item that names a root is copied from peers.
//  3. Else what the operator's other tools have of it on this machine is taken, if
//     it has the digest and the source lets those who ask have it.
//  4. Else the item is opened once, conditionally if its key was seen before;
//     "not modified" is a hit as well.
//     What an earlier flight left of the content is gone on with: the origin is
//     asked for the rest, of the same version, or of what has the digest that
//     the item names. If that does not fit, the flight begins anew, once.
//     Ranges of it that others ask for, who fetch the same content, come from them
//     (bitswap/crew).
//  5. The body goes through dag.Import: leaves into the store and into the tee
//     at once, digests beside them, in constant memory.
//  6. Size and digests are compared with all that was announced. Only then are
//     the file and its aliases recorded, durably, in one step.
//
// It knows nothing of HTTP, of hubs, of peers, or of work directories.
//
// Invariants:
//
//   - A download that is cut (by its origin, by the last who waits, by the end of
//     the process) leaves its beginning in the store if anybody will be able to
//     tell that a rest belongs to it. One flight at a time goes on with it, for
//     the same credential or none.
//   - N concurrent fetches of one identity open the origin once. Who gives up
//     hurts nobody else; the flight ends with the last who waits.
//   - Content that does not match what was announced is recorded nowhere. What others
//     sent of it is fetched again, from the origin.
//   - All flights together take no more memory than Config.Memory: each waits for
//     its share before it opens anything.
//   - No collection of garbage takes what a flight brings before all who wanted
//     it have pinned it.
//   - A tee is not written to after Fetch returned, and a tee that fails costs
//     only its owner.
//   - Content fetched with a credential is private to it from its first byte on,
//     and given to others only after their own credential fetched it, or after the
//     source, which names its digest, said that the credential would. By its root
//     it is given to those who found that it is private when they named it: to all
//     others it is as if it were not here.
package ingest
