package conformance

import (
	"net/http"
	"strconv"
	"testing"
	"time"
)

// TestRate: a job's rate holds whatever comes from a peer or goes to one, in the
// middle of a file. Only what is too fast is wrong: a loaded machine may be slower.
func TestRate(t *testing.T) {
	const rate, size = 2 << 20, 6 << 20
	limit := []string{"--limit", "rate=" + strconv.Itoa(rate)}
	least := time.Duration(size-rate) * time.Second / rate // a second's worth goes at once
	slow := func(t *testing.T, begin time.Time) {
		t.Helper()
		if took := time.Since(begin); took < least-100*time.Millisecond {
			t.Errorf("%d bytes took %v at %d bytes a second, want %v at least", size, took, rate, least)
		}
	}
	for i, name := range []string{"sender", "receiver"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id, args := newID(), [2][]string{}
			args[i] = limit
			from := newJob(t, shared.nodes[0], append(args[0], "--id", id)...)
			to := newJob(t, shared.nodes[1], append(args[1], "--id", id)...)
			var shown struct{ Limits struct{ Rate int64 } }
			[]*job{from, to}[i].get(t, "/job").into(t, http.StatusOK, &shown)
			if shown.Limits.Rate != rate {
				t.Errorf("%+v", shown)
			}
			content := random(t, uint64(900+i), size)
			from.write(t, "f", content)
			begin := time.Now()
			from.send(t, "f", shared.ids[1])
			slow(t, begin)
			to.has(t, to.one(t), content)
		})
	}
	t.Run("fetch by CID", func(t *testing.T) {
		t.Parallel()
		from, to := newJob(t, shared.nodes[0]), newJob(t, shared.nodes[1], limit...)
		from.write(t, "f", random(t, 902, size))
		var put struct{ CID string }
		from.post(t, "/resources/put", map[string]any{"path": "f", "announce": true}).into(t, http.StatusOK, &put)
		begin := time.Now()
		got := to.fetch(t, map[string]any{"type": "cids", "values": []string{put.CID}})
		slow(t, begin)
		to.holds(t, got[0].Path, size, got[0].Checksum)
	})
}
