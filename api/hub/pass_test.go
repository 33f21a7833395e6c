package hub_test

import (
	"fmt"
	"testing"

	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// TestShortRange holds that short ranges of a file that is not stored are answered
// without the file, a few times, and that the next one brings it.
func TestShortRange(t *testing.T) {
	r := start(t, nil)
	large := bytesOf(t, hubtest.Random(1, largeSize))
	const path = "GET /org/model/resolve/main/sub/large.bin"
	ask := func(what string, from, to int) {
		t.Helper()
		a := r.do(path, fmt.Sprintf("Range: bytes=%d-%d", from, to-1))
		a.want(t, what, 206, large[from:to])
		a.wantHeader(t, what, fmt.Sprintf("Content-Range: bytes %d-%d/%d", from, to-1, largeSize), fmt.Sprintf("Content-Length: %d", to-from))
	}
	// The origin holds back everything behind the first MiB of each answer.
	r.up.Plant(hubtest.Fault{CDN: true, Times: 1, Stall: true, At: 1 << 20})
	ask("its beginning", 0, 8)
	r.up.ClearFaults()
	ask("the footer", largeSize-8, largeSize)
	ask("as much as goes", 1<<20, 2<<20)
	ask("the middle", 100, 200)
	if n := r.downloads(); n != 4 {
		t.Errorf("%d requests, want one for each range", n)
	}
	r.do(path, fmt.Sprintf("Range: bytes=%d-", largeSize)).want(t, "behind the file", 416, nil)
	ask("one more", 4096, 8192)
	ask("from the store", 5, 6)
	if n := r.downloads(); n != 5 {
		t.Errorf("%d requests, want five", n)
	}
}

// TestShortRangeRefused holds that the upstream's word counts for ranges as well.
func TestShortRangeRefused(t *testing.T) {
	r := start(t, nil)
	const path = "GET /org/model/resolve/main/sub/large.bin"
	r.up.Plant(hubtest.Fault{CDN: true, Times: 1, Cut: true, At: 4})
	r.do(path, "Range: bytes=0-7").want(t, "cut", 502, nil)
	r.up.ClearFaults()
	r.do(path, "Range: bytes=0-7").want(t, "again", 206, bytesOf(t, hubtest.Random(1, largeSize))[:8])
	gated := r.do("GET /org/gated/resolve/main/weights.bin", "Range: bytes=0-7")
	gated.want(t, "gated", 401, nil)
	gated.wantHeader(t, "gated", "X-Error-Code: GatedRepo")
}
