// Package bitswap talks to other nodes: it finds out who has a block, gets the
// block from them, serves the blocks of a store to them, and announces which
// roots this node has. It wires a libp2p host (TCP and QUIC, TCP preferred), a
// Kademlia DHT of its own prefix, boxo's bitswap and the DHT's sweeping
// provider; New opens all of it, Run keeps the connections to configured peers
// alive, Close ends it in the reverse order.
//
// It knows nothing of files, directories or jobs, and it decides nothing about
// what is stored: a fetched block is handed to the caller and never written.
//
// Invariants:
//
//   - A block that a Session returns hashes to its CID. boxo computes the CID of
//     every received payload from its bytes (bitswap/message, NewWantlistBlock)
//     and drops what nobody asked for, so bytes that were changed on the way come
//     out under another CID and are never delivered. Callers need not hash again.
//   - Nothing is dialled but what Config, Connect or a DHT lookup names, whom an
//     earlier run has dialled so and reached, and, while a DAG is fetched, who fetches
//     the same, as a peer that serves it says (package swarm): with an empty
//     configuration the node speaks only when it is spoken to.
//   - Bitswap's protocol names are the IPFS ones, so that any IPFS node can
//     exchange blocks with this one; the DHT is separate (Config.ProtocolPrefix).
//   - Every goroutine that this package starts has ended when Close returns.
package bitswap
