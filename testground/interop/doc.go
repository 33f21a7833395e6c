// Package interop holds the node to the programs that it has to get on with:
// Kubo 0.43 (equal CIDs, transfers both ways), nginx and curl, versitygw for S3, and the
// Hub's own clients, which must accept the stand-in that our tests take for the
// Hub.
//
// A test whose program is not there is skipped and says so. `make interop` runs
// with files of 2 GiB, `make test` with small ones.
package interop
