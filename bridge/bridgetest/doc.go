// Package bridgetest is what tests of the bridge and of jobs run against: a real
// store and a real ingest engine, with a hub and a plain HTTP origin on loopback
// that count what they are asked for.
package bridgetest
