// Package hubtest is a Hugging Face Hub for tests, benches and demonstrations:
// it answers as the true one does (routes, redirects, headers, errors and their
// codes), from content that is given, generated or read from disk, on loopback
// only. Hugging Face's own Python and JavaScript clients accept it.
//
// Large files are redirected to a second server that stands for the CDN: it
// lives on another port, wants signed URLs that expire, and refuses requests
// that carry credentials. Faults can be planted, and every request is logged.
//
// A third server stands for the Xet storage, where that is wanted: it takes the
// hub's own tokens alone, tells of what xorbs a file is made, and signs URLs of the
// CDN for exactly those ranges of them. Chunks come in all three schemes.
//
// It knows nothing of this module's other packages.
package hubtest
