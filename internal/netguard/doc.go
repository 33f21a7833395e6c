// Package netguard keeps outside requests from making this machine talk to
// addresses that are not on the public Internet.
//
// The check is made when a connection is dialled, on the address that is about
// to be used: after name resolution, for every redirect, for every address of
// a name. No spelling of a URL and no answer of a name server gets around it.
//
// It knows nothing of HTTP but the shape of a proxy: when a request goes
// through a proxy, the target is resolved elsewhere and only its literal host
// can be checked here.
package netguard
