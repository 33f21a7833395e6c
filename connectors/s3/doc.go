// Package s3 turns references to objects of S3, or of a server that speaks its
// API, into items.
//
//  1. A reference names an endpoint by its alias. Where that is, and with whose
//     keys it is asked, the node's configuration says and never a job: a job
//     may use the aliases that are configured, and of each the buckets that it
//     lists.
//  2. One object costs a GET, whose answer tells its size, its entity tag, its
//     version and maybe its sha256, so that what is here is not read again; a
//     repeat costs a conditional one. An object that is asked for by its version
//     costs none when it is here. A prefix costs its pages of 1,000 keys, and a GET
//     of each object that is not here. A HEAD is for who only wants to look.
//  3. The bytes are asked for with If-Match and with the version, so that what
//     arrives is what was listed. An entity tag is no digest: it only tells
//     two states of the same object apart.
//  4. An answer that names another region is believed once for each reference.
//
// An upload is the reverse, for the operator alone: each part's sha256 is signed,
// checked by the endpoint and compared with what it answers.
//
// Every request is signed for itself, and follows no redirect: it reaches the
// endpoint that the operator has set, or Amazon's, and nobody else. That is why
// the address of an endpoint may be private.
//
// Listings and errors are hostile input: they are bounded, and keys are checked
// before they become names. The package knows nothing of stores and jobs; how
// bytes move is httpconn's.
package s3
