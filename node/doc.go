// Package node puts the parts together: the one place that knows them all.
//
// Open makes a node of a repository; nothing listens and nobody is dialled yet,
// except that an online node accepts peers. Its handler can be used at once, in
// the same process. Run serves the control socket and the bridges of jobs, and
// takes part in the network, until its context ends. Close ends what Open made,
// newest first.
//
// An offline node has no libp2p host at all: it makes no socket, no key and no
// goroutine for the network.
//
// The package knows nothing of flags, the environment and terminals.
package node
