// Package cases says what is played in a swarm and what passes: who has
// content, who wants it, over which links, and how many times the least time it
// may take. A case is written against World and Node, so that it is the same
// program whether its nodes live in one process and in virtual time, in network
// namespaces of this machine, or in containers of a testground cluster.
//
// It knows nothing of sockets, clocks and how nodes are made. Every instance of
// a case computes the row of the result from what all of them report, and fails
// if a bound is missed: no referee is needed.
package cases
