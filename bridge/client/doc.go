// Package client speaks to a job's bridge over its Unix socket.
//
// It knows the wire form and nothing of the node behind it: an executor in Go
// can use it as well as the command line does.
package client
