// Package crew has nodes that fetch the same content from its origin at the same
// time share the work: each range of it leaves the origin about once. The content
// is known by its sha256 and its size before its first byte is here.
//
//  1. Who begins tells the connected peers which content it fetches. Those who fetch
//     it, too, say so: they are a crew. Who is alone reads one stream of the origin.
//  2. The content is cut into ranges. A member claims a range before it asks the
//     origin for it, and tells the others; what nobody has claimed is for who has claimed
//     least near by, since each sends what it has claimed to all others, and goes round
//     among those who have claimed the same.
//  3. The others read a range from who has claimed it, while it comes.
//  4. A member that leaves, or sends nothing, loses its claims.
//
// A member sends what it has from the origin itself, or of a content that it has
// verified as a whole, and nothing that another member sent: who sent a range answers
// for it. Nothing of it is verified here. Who takes the content in compares the whole
// with its sha256, asks Parts who sent what, and tells Ban who lied.
//
// The package knows nothing of blocks, of files and of credentials: a content that is
// not for everybody is never brought here.
//
// Invariants:
//
//   - A Reader gives the content in order and takes Window bytes of memory at most.
//   - What a peer can make this node hold is bounded: streams, members, claims.
//   - Every goroutine of a Share has ended when Leave returns, all others when Close
//     of the Service does.
package crew
