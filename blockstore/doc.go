// Package blockstore keeps blocks by multihash, knows which of them form files,
// and under which names they are kept. It knows nothing of UnixFS, networks or
// where bytes come from.
//
// Disk is the store of a node. Its index, a Badger database, knows where every
// block lies; the bytes lie in segments, plain files of two kinds:
//
//	file segment  content of one file, in order, from offset 0 on ‖ inner nodes ‖
//	              footer ‖ trailer ‖ footer ‖ trailer
//	pack segment  records: small and loose blocks, and facts that came late
//	              (aliases, files, pins)
//
// A write goes through these steps, and is acknowledged after the last:
//
//  1. bytes into a segment (a file's is called *.part until it is whole)
//  2. fdatasync of the segment; rename and fsync of the directory for a file
//  3. one synced index transaction, in which a file's record comes after the
//     places of its blocks; concurrent writers share it
//
// A file that is cut short may leave its beginning: the part file stays, and the
// index knows which leaves are in it and what its writer needs to go on. Each
// Keep is (1) fdatasync of the part file, (2) one synced index transaction.
//
// Invariants:
//
//   - A block that the store returns hashes to its CID.
//   - What the index says is on the disk: it is written last.
//   - A file is recorded after every block of it, and forgotten before any.
//   - What was acknowledged survives kill -9 and power cuts, and the loss of the
//     index: every block, file, alias and pin can be found again in the segments.
//   - The number of a segment is never used twice.
//
// Why it is built like this: docs/decisions/0001-segments-under-badger.md.
package blockstore
