// Command hypha-node gets models and datasets into the work directories of
// machine-learning jobs: fetched once, verified always, shared by content.
//
// Every verb speaks the node's own API (package control): to the daemon's
// socket if one runs, else to a node that is opened in this process for the
// time of the command. This package is the only one that reads flags and the
// environment, writes to the terminal and exits.
//
// How it talks: results go to standard output, everything else to standard
// error; errors begin with "error: ", advice with "hint: "; bars are drawn on a
// terminal only; --json prints one document, or one a line. Text from outside
// is escaped before it reaches a terminal. Exit codes are in exit.go.
package main
