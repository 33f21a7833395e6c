// Package dag turns content into UnixFS DAGs and back: files, directories and
// symlinks in, verified bytes out, and whole DAGs from peers into the store.
//
// It knows nothing of references, jobs, peers or the form of the store on disk.
//
// Invariants:
//   - Equal content and profile give the CIDs that Kubo gives.
//   - Every DAG that is read is hostile until checked: sizes are compared with
//     what is there, depth, width and visits are bounded, names are judged by
//     safename, and a violation is an error that wraps ErrMalformed or
//     ErrTooLarge.
//   - Bytes are verified exactly once on their way: by the store when it hands
//     out a block, by the exchange when it builds one, by this package when it
//     reads content past the store (Files.OpenFile).
//   - Memory is bounded by windows, never by the size of a file.
//   - Parents are stored after their children.
//   - Every goroutine ends before the function that started it returns.
//
// A file is read like this: (1) its root is decoded and its claims are checked;
// (2) inner nodes are loaded as the reading goes, a few ahead; (3) workers fetch
// and verify runs of leaves; (4) runs are written in order, or in any order
// where the destination takes offsets.
package dag
