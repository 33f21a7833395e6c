package s3

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/hypha-node/hypha-node/connectors"
)

// versioned stands between the place of an object and its version in a key.
const versioned = "#version="

// Known returns references to the object that an alias key of an item stands for: one
// for each configured endpoint with its URL, none where the key is another's.
func (c *Connector) Known(key string) (refs []connectors.Ref) {
	rest, ok := strings.CutPrefix(key, "s3:")
	if !ok {
		return nil
	}
	for _, alias := range slices.Sorted(maps.Keys(c.accounts)) {
		place, ok := strings.CutPrefix(rest, cmp.Or(c.accounts[alias].URL, "aws")+"/")
		bucket, object, slash := strings.Cut(place, "/")
		if !ok || !slash || bucket == "" {
			continue
		}
		ref := connectors.Ref{Type: connectors.TypeS3, Endpoint: alias, Bucket: bucket, Key: object}
		if at := strings.LastIndex(object, versioned); at >= 0 {
			ref.Key, ref.Version = object[:at], object[at+len(versioned):]
		} else if at := strings.LastIndex(object, tagged); at >= 0 {
			ref.Key = object[:at]
		}
		refs = append(refs, ref)
	}
	return refs
}
