// Package storetest holds what blockstore.Store promises as tests. Every
// implementation and every fake passes Run; a sentence of the contract that no
// test here would notice is a sentence to add a test for.
//
// It knows nothing of how a store keeps its bytes. What the contract can't reach
// (bad disks, restarts) is tested through the optional interfaces Corrupter,
// Reopener and Limiter, which a test's wrapper around a store may have.
package storetest
