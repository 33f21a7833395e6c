// Package bridge is what one job has of the node: a work directory, the
// operations that bring files into it and take them out of it, and an inbox of
// what peers sent. It is the middle of the Job Bridge; the wire form is package
// rest, a client is package client.
//
// It knows nothing of HTTP, sockets, processes or the network: references become
// items and bytes in package ingest, trees become files in package dag, and
// package peers carries offers.
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
// How a file is sent:
//
//  1. take a place among the job's transfers, then one in the lane of each peer;
//  2. snapshot the file into the store: a file that changes meanwhile is refused;
//  3. offer it to every peer at the same time, under one transfer id a peer; a lost
//     connection is tried again with the same id;
//  4. each receiver keeps it in its lane's order: pin, record, answer.
//
// How a file is received:
//
//  1. who may send is judged, and room reserved, before a byte moves;
//  2. a kept item gets the next sequence of the job, from 0 and without gaps, also
//     after a crash; a second delivery of the same transfer is answered and dropped;
//  3. it is given to the first subscription that waits for one like it, as a new
//     file of the work directory; it is received when that has passed it on;
//  4. the newest 256 received items, of at most 1 GiB together, can be replayed; of
//     the newest 10,000 it is known that they were delivered.
//
// A send that its caller does not wait for is accepted when the file is pinned in
// the store and the send is recorded; it is forgotten when all peers have the file
// or have refused it for good. Its transfer ids outlive a crash, so that a peer that
// has the file does not keep it twice.
//
// At least once: a crash in the moment after an item was passed on gives it again,
// with the same sequence. Nothing that a sender was told is delivered is lost.
//
// The work directory is not fsynced (docs/decisions/0005): the store is durable,
// and fetching again repairs a work directory after a power cut.
package bridge
