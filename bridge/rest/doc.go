// Package rest is the wire form of a job's bridge: HTTP/1.1 and JSON on a Unix
// socket. Requests are taken in the four dialects that executors speak (see
// docs/api.md); answers are the same for all.
//
// It knows nothing of stores, connectors and processes: a job is an interface.
//
// Invariants
//
//  1. Every answer is JSON, refusals too: {"error":"<code>","detail":"…"}. The
//     codes and their statuses are one table, errors.go.
//  2. The routes are one table, routes.go, and openapi.json describes each of
//     them; a test compares the two.
//  3. What a client can make the node hold is bounded: connections, headers,
//     bodies (1 MiB, few at a time), depth of JSON, time to send it.
//  4. The socket is 0600 from its first moment, in a directory of mode 0700, and
//     only processes of the same user get an answer, or those that Config.Caller
//     accepts.
package rest
