// Package conformance holds the bridge to its contract: one test for every item
// of the list that executors of the original rely on, against daemons of the
// real binary, over real sockets, with raw HTTP.
//
//	T  transport: socket, verbs, errors        S  POST /resources/send
//	F  POST /resources/fetch                   R  POST /resources/receive
//	P  status and action                       J  processes
//
// TestF07URIName is item F7, and so on. The tests know the wire form and the
// command line and nothing of the packages behind them. Three nodes on loopback,
// which know each other, a hub and an origin are shared; each test has jobs of
// its own. A test that kills or configures a node starts one of its own.
//
// Nothing waits for time to pass: what has to happen is waited for as an event,
// with a deadline that only a hang meets.
package conformance
