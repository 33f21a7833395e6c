// Package virtual is a swarm in one process and in virtual time: real stores on
// disk, exchanges, engines and bridges over real libp2p hosts (QUIC), on links
// whose rates, latency and loss are simulated. It lives in a testing/synctest
// bubble. A transfer that takes half a minute on such links takes a second here,
// needs no root and no ports, and is not disturbed by what else the machine does.
//
// What comes out is protocol, not code speed: CPU time costs nothing in virtual
// time. Virtual times were within 2.5 % of real processes on shaped links of the
// kernel, and vary by about one percent from run to run.
//
// Sockets of bridges are in memory, since virtual time stands still while
// anybody waits on a real one.
package virtual
