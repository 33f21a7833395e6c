package ingest

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
)

// FuzzMeta holds that whatever a connector wants to keep beside an alias comes
// back unchanged, or is refused.
func FuzzMeta(f *testing.F) {
	for _, seed := range []string{"", "null", "{}", `{"etag":"\"x\""}`, `{"etag":7}`, `{"verified":true,"n":1e400}`, `[1]`, `"s"`, `{"a":{"b":[null]}}`, "{", `{"time":-1,"scope":"mine"}`} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	e := New(Config{Now: func() time.Time { return time.Unix(12, 0) }})
	f.Fuzz(func(t *testing.T, validator []byte, verified bool) {
		got, err := e.metaOf(connectors.Item{Scope: "s"}, &connectors.Body{Meta: validator, ETag: "t"}, verified)
		if err != nil {
			return
		}
		var before, after map[string]any
		if err := json.Unmarshal(got, &after); err != nil {
			t.Fatalf("%q: %v", got, err)
		}
		if len(validator) > 0 {
			if err := json.Unmarshal(validator, &before); err != nil {
				t.Fatalf("%q was taken: %v", validator, err)
			}
		}
		for name := range before {
			if _, has := after[name]; !has {
				t.Errorf("%q lost %q", got, name)
			}
		}
		if after["verified"] != verified || after["scope"] != "s" || after["time"] != 12.0 {
			t.Errorf("%q lacks what the engine adds", got)
		}
		if m := parseMeta(got); m.Verified != verified && (m != meta{}) {
			t.Errorf("%q reads as %+v", got, m)
		}
	})
}
