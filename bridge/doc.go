// Package bridge is what one job has of the node: a work directory, and the
// operations that bring files into it. It is the middle of the Job Bridge; the
// wire form is package rest, a client is package client.
//
// It knows nothing of HTTP, sockets, processes or connectors: references become
// items and bytes in package ingest, and trees become files in package dag.
//
// Invariants
//
//  1. Nothing outside the work directory is opened, made or changed. Names are
//     checked as text (package safename), then every operation goes through one
//     os.Root that was opened before the executor could touch the directory.
//  2. A file appears under its name complete, or not at all: it grows in
//     .hypha/tmp of the same work directory and is renamed. A file that is there
//     is never opened for writing, so that a reader who maps it is safe.
//  3. Files are 0600 and directories 0700 from their first moment. Symlinks,
//     devices and set-id bits are never made, symlinked directories never used.
//  4. The bytes of every reported file hashed to the reported checksum and CID.
//
// How a request is fetched:
//
//  1. resolve the reference; for each item, in order, at most 8 at a time:
//  2. fetch it into the store, and, while it is downloaded, into a temporary file;
//  3. if that file is not whole (the item was here already, or another caller
//     downloads it), write it from the store: reflink, else a verified copy;
//  4. compare the checksum, make the directories, rename;
//  5. answer in the order of the request.
//
// The work directory is not fsynced (docs/decisions/0005): the store is durable,
// and fetching again repairs a work directory after a power cut.
package bridge
