// Package car reads and writes CARs, files of blocks: version 1, a header with
// roots and then frames of a CID and its bytes, and version 2, which wraps one.
// See https://ipld.io/specs/transport/car/.
//
// It knows nothing of stores and DAGs: which blocks there are, in which order, and
// whether bytes hash to their CID, is the affair of who reads or writes.
//
// Input is hostile: every length is compared with its limit before anything is
// allocated, one section is in memory at a time, and an error tells the offset of
// what is wrong. A CAR that ends within a section is an error.
package car
