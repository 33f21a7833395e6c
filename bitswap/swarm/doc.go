// Package swarm gets the blocks of one DAG from all peers that have some of them,
// and serves what this node has of a DAG, also while it is still fetching it. It
// speaks a protocol of its own, ID, on libp2p streams; whoever does not speak it is
// the business of the fall-back that each Fetch has (bitswap).
//
// A stream belongs to one asker and one root. The asker says hello and names what it
// wants, as ranges of the links of a node, or single blocks by CID; the holder says
// whether it has all of the DAG, a part or nothing, sends bitmaps of what it has and
// what is new in them, the blocks as raw bytes, and who else asks for that root.
//
//  1. Everybody who fetches a root asks those whom it knows for it, and those of
//     whom they tell; of many those who rank first, so that all are asked by about as
//     many. Who has all need not be among them: others say that they ask him.
//  2. A block is asked for at one source at a time: the rarest first, at who fetches
//     it, too, rather than at who has all, and at whom it will come from soonest.
//  3. A holder of the whole DAG prefers blocks that nobody has been given yet. One
//     that it has given to somebody who is still there it holds back for a while from
//     those who know others: each block has an owner, and leaves the holder once.
//  4. What does not come in the time that its source should need is asked for
//     elsewhere. Who sends wrong bytes is not asked again.
//
// The package knows nothing of files: what a node links to is what its dag-pb says.
//
// Invariants:
//
//   - A block is delivered when its bytes hash to its CID, and sent when they do, or
//     when they did since the store was opened and are the same (blockstore.Passer).
//   - Config.Served is asked for the root and for each block before it is sent.
//   - What a peer can make this node hold is bounded: wants, streams, bitmaps,
//     addresses. A peer that takes nothing loses its stream.
//   - Every goroutine of a Fetch has ended when its Close returns, all others when
//     that of the Service does.
package swarm
