// Package control is the node's own API: what the command line can do, over
// HTTP on a Unix socket.
//
// It holds the table of operations (operations.go), their requests and answers
// (types.go), the server and the client. The client speaks either to the socket
// of a daemon or, in the same process, to the handler itself: the command line
// knows one API, whether a daemon runs or not.
//
// The package knows nothing of flags, terminals or how the node was wired, and
// it is for the owner of the repository alone: paths in requests are absolute
// paths of the node's own file system, read and written with the node's rights.
//
// Invariants:
//   - A request that failed has an error body {"error","detail","hint"} and a
//     status that fits it, whatever the operation.
//   - A stream of events ends with an event "done" or "error". One that ends
//     without either was cut, and the client says so.
//   - An item is sent when it is durable; the entries of a directory are when
//     the item of the directory itself is sent.
//   - When the client goes away, the operation's context ends.
package control
