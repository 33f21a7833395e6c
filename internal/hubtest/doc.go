// Package hubtest is a Hugging Face Hub for tests, benches and demonstrations:
// it answers as the true one does (routes, redirects, headers, errors and their
// codes), from content that is given, generated or read from disk, on loopback
// only. Hugging Face's own Python and JavaScript clients accept it.
//
// Large files are redirected to a second server that stands for the CDN: it
// lives on another port, wants signed URLs that expire, and refuses requests
// that carry credentials. Faults can be planted, and every request is logged.
//
// It knows nothing of this module's other packages.
package hubtest
