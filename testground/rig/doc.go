// Package rig drives real programs: the node's own binary as a user would, Kubo,
// nginx. The demo, the benches, the interop and the trust tests stand on it.
//
// It knows the command line, the control socket's and the bridge's wire form,
// and nothing of the packages behind them, so that what it shows is what a user
// gets. Everything it starts listens on loopback, and is waited for by the
// method that ends it.
package rig
