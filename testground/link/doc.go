// Package link is a network in user space: IPv4 packets between ports, each with
// a rate up and down, a delay and a loss, for kernels that can't delay packets
// themselves. A port is any device that a packet is read from and written to at
// a time, such as a TUN device in a network namespace.
//
// It knows the addresses of packets and nothing else of them.
//
// A packet waits in a queue for its turn on the sender's link, travels, waits
// for its turn on the receiver's link, and is written. A queue that is full drops
// what comes, as routers do.
package link
