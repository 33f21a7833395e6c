// Package peerstest gives tests real peers: services that move files over
// libp2p on loopback.
package peerstest
