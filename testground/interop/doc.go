// Package interop holds the node to the programs that it has to get on with:
// Kubo 0.43 (equal CIDs, transfers both ways), nginx and curl, versitygw for S3, and the
// Hub's own clients, which must accept the stand-in that our tests take for the
// Hub.
//
// A test whose program is not there is skipped and says so. `make test` runs
// with big files of 64 MiB, `make interop` with ones of 2 GiB, and `make interop
// RUN=TestBig` only the tests that have any.
package interop
