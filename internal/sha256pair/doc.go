// Package sha256pair hashes one stream twice for the price of once: the
// content's sha256 and, beside it, the sha256 of each leaf (chunk) of it.
//
// Both hashes read the same 64-byte message blocks as long as leaves begin at
// multiples of 64 bytes, so the message schedule is computed once, and the two
// chains of rounds fill each other's latency in the processor's SHA unit. On a
// processor without SHA-NI the two hashes are computed one after the other by
// crypto/sha256. The package knows nothing of files, blocks or CIDs.
package sha256pair
