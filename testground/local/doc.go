// Command local plays the testground plan with real processes on this machine:
// each instance in a network namespace of its own, on links that package link
// shapes in user space, with testground's sync service in between. It needs
// Linux, root (for namespaces and TUN devices) and nothing else of testground.
//
//	local -plan bin/testground [-case flash-crowd[,…]] [-stock] [-n instances] [-out dir]
//
// It prints one row a case, writes them to OUT/local.json with a plot beside,
// and ends with 1 when a case missed its bound.
package main
