package hub_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// TestXet: the façade takes what the bridge does not give over Xet, and tells its
// clients of neither.
func TestXet(t *testing.T) {
	r := startOver(t, true, nil)
	r.up.Plant(hubtest.Fault{CDN: true, Path: "xet-bridge-us", Cut: true, At: 1 << 20})
	large, data := bytesOf(t, hubtest.Random(1, largeSize)), bytesOf(t, hubtest.Random(3, 2<<20))
	// One file is known by its header, the other one by a listing.
	head := r.do("HEAD /org/model/resolve/main/sub/large.bin")
	head.want(t, "HEAD", 200, nil)
	list := r.do("GET /api/datasets/org/data/tree/" + r.up.Head("dataset/org/data"))
	list.want(t, "listing", 200, nil)
	if bytes.Contains(list.body, []byte("xetHash")) {
		t.Errorf("the listing has xetHash: %s", list.body)
	}
	for name := range head.header {
		if strings.Contains(name, "Xet") || strings.Contains(head.header.Get(name), "xet") {
			t.Errorf("%s: %s", name, head.header.Get(name))
		}
	}
	r.do("GET /org/model/resolve/main/sub/large.bin").want(t, "large", 200, large)
	r.do("GET /datasets/org/data/resolve/"+r.up.Head("dataset/org/data")+"/train.csv").want(t, "data", 200, data)
	asked := map[string]bool{}
	for _, q := range r.up.Requests() {
		if q.CAS {
			asked[q.Path] = true
		}
	}
	if len(asked) != 2 {
		t.Errorf("asked the storage of Xet for %v, want two files", asked)
	}
}
