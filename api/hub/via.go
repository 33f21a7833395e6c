package hub

import (
	"context"
	"net/http"
	"strings"
)

// product begins the name of every façade in a Via field (RFC 9110, 7.6.3).
const product = "hypha-hub-"

// maxHops is how many façades may ask one another for one request.
const maxHops = 4

// viaKey is the key of the Via field of the request that a context belongs to.
type viaKey struct{}

// withVia returns the context of a request.
func withVia(ctx context.Context, r *http.Request) context.Context {
	return context.WithValue(ctx, viaKey{}, strings.Join(r.Header.Values("Via"), ", "))
}

// viaOf returns the Via field of a request that is sent on.
func viaOf(ctx context.Context, name string) string {
	if before, ok := ctx.Value(viaKey{}).(string); ok && before != "" {
		return before + ", 1.1 " + name
	}
	return "1.1 " + name
}

// loops tells whether a request has passed the façade of that name before, or
// too many others.
func loops(h http.Header, name string) bool {
	hops := 0
	for _, field := range h.Values("Via") {
		for hop := range strings.SplitSeq(field, ",") {
			_, by, _ := strings.Cut(strings.TrimSpace(hop), " ")
			if by == name {
				return true
			}
			if strings.HasPrefix(by, product) {
				hops++
			}
		}
	}
	return hops >= maxHops
}
