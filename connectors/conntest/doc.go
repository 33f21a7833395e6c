// Package conntest is the conformance suite of connectors.Connector: whoever
// implements the contract runs it against an origin with known content.
//
// It knows no implementation. Goroutines that outlive a test are found by
// goleak in the TestMain of the package that runs the suite.
package conntest
