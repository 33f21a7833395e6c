// Package gateway serves stored content over plain HTTP, as the specifications of
// IPFS gateways have it: files, directory listings and ranges by path and by
// subdomain, and single blocks and CARs that clients verify themselves.
//
//  1. boxo's handler reads the request and makes the answer.
//  2. What it asks for comes block by block from the store, verified there. Only
//     where the operator allows it, what is missing is fetched from peers.
//
// It knows nothing of flags, listeners and who may have what: Config.Served says
// so for each block.
//
// Invariants:
//
//   - It is read-only: nothing that a client sends is stored.
//   - What Served refuses is not there, in whatever form it is asked for.
//   - By default nobody is asked for anything: an answer costs this node's disk
//     and nothing else. Names (IPNS, DNSLink) are never looked up.
//   - What a request reads is not collected before its answer is sent.
package gateway
