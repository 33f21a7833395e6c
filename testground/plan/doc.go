// Package plan plays a case as one process of a testground run: the node that
// users run, with its repository on disk, its API and its jobs' sockets, and
// testground's sync service to meet the others.
//
// It never plays a case whose links nobody shapes under the name of that case.
package plan
