// Package httpconn fetches files over HTTP: the connector of http and https
// references, and the Client that other connectors fetch with.
//
// A download is one stream to its reader:
//
//  1. GET, with a Range when a part is wanted; no HEAD ever.
//  2. Redirects are followed here, not by net/http: at most ten, credentials
//     and custom headers go to the first URL's origin (scheme, host, port)
//     only, from https there is no way back to http.
//  3. The answer must be what was asked: identity encoding, the range asked
//     for, a length that agrees. A 200 to a request for a range is read from
//     its beginning and the bytes before the range are thrown away.
//  4. When a body breaks, stalls or ends early, the rest is asked for with
//     If-Range and the strong validator of the first answer, so that two
//     versions of a file never mix. Without such a validator, and without a
//     digest that will be checked anyway, it is an error.
//     A stream that begins behind the first byte may be pinned beforehand, by
//     what was said of the content that it goes on with.
//  5. Attempts without a single new byte, or with drops only, are counted; so many
//     in a row end it.
//  6. When the reader waits for the origin and much of a content is left, up to
//     eight connections read it in parts, each as long as it brings more in all
//     (see scouts and fan). The bytes still come in order, all of the version
//     that the first answer told, from 32 MiB of memory at most. An origin that
//     gives no parts, or refuses more connections, is read over one.
//  7. All bodies together keep to Config.MaxRate.
//
// The package knows nothing of blocks, stores and jobs. It does not check
// digests; whoever takes the bytes in does.
package httpconn
