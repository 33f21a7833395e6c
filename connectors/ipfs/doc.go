// Package ipfs is the source of files that are named by content: references of
// type "cids", and whole DAGs for whoever knows a root. Blocks come from the
// store when it has them and else from peers by one bitswap session per
// operation; what comes from peers is written to the store.
//
// It knows nothing of origins, jobs or where files are put. What is fetched is
// not announced: the caller calls bitswap's Provide, since only it knows whether
// the content may be shown to others.
//
// Invariants:
//
//   - What the store has costs no request.
//   - With nobody to ask an operation fails at once. Otherwise it fails when
//     nothing has come for Timeout, and never hangs; the error names the CID that
//     is missing and wraps connectors.ErrNotFound.
//   - A transfer that stands still for Stall looks for other providers, and says
//     so in the exchange's log.
package ipfs
