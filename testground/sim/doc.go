// Package sim runs nodes against each other in virtual time: real exchanges over
// real libp2p hosts (QUIC), real stores on disk, and links whose rates and
// latency are simulated, inside a testing/synctest bubble. A transfer that takes
// half a minute on such links takes a second here, needs no root and no ports,
// and is not disturbed by what else the machine does.
//
// What comes out is protocol, not code speed: CPU time costs nothing in virtual
// time. Each case prints a row with the time, the least time that the links
// allow, and their ratio; run it with -v to see them. Cases assert what was
// transferred, and times only so loosely that they can't fail by luck: scheduling
// moves them by about one percent.
package sim
