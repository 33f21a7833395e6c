package conformance

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// TestF15Disconnect: a client that goes away ends the download that nobody else
// waits for, leaves nothing behind, and the next one gets the whole file.
func TestF15Disconnect(t *testing.T) {
	content := random(t, 115, 8<<20)
	j := newJob(t, shared.nodes[0])
	url, f := shared.origin.putGated(t, "f.bin", content, 5<<20)
	ctx, cancel := context.WithCancel(rig.Within(t))
	done := make(chan error, 1)
	go func() {
		_, err := j.try(ctx, http.MethodPost, "/resources/fetch", rig.URI(url))
		done <- err
	}()
	await(t, "the gate", f.reached)
	cancel()
	if err := <-done; err == nil {
		t.Fatal("the fetch was answered")
	}
	await(t, "the end of the download", f.gone)
	if names := j.list(t, "artifacts"); len(names) > 0 {
		t.Errorf("a given-up fetch left %q", names)
	}
	f.release()
	j.fetch(t, rig.URI(url))
}

// TestF15OthersGoOn: the end of one client does not hurt another that waits for
// the same file.
func TestF15OthersGoOn(t *testing.T) {
	content := random(t, 116, 4<<20)
	a, b := newJob(t, shared.nodes[0]), newJob(t, shared.nodes[0])
	url, f := shared.origin.putGated(t, "f.bin", content, 1<<20)
	ctx, cancel := context.WithCancel(rig.Within(t))
	first, second := make(chan error, 1), make(chan answer, 1)
	go func() {
		_, err := a.try(ctx, http.MethodPost, "/resources/fetch", rig.URI(url))
		first <- err
	}()
	await(t, "the gate", f.reached)
	go func() {
		r, err := b.try(rig.Within(t), http.MethodPost, "/resources/fetch", rig.URI(url))
		if err != nil {
			t.Error(err)
		}
		second <- r
	}()
	cancel()
	<-first
	f.release()
	var files []fetched
	(<-second).into(t, http.StatusOK, &files)
	b.holds(t, "artifacts/f.bin", int64(len(content)), digest(content))
}

// TestF16PartialFailure: one file fails: the answer names it and what is there,
// and that stays.
func TestF16PartialFailure(t *testing.T) {
	j := newJob(t, shared.nodes[0])
	r := j.post(t, "/resources/fetch", hfRef("config.json", "missing.bin", "empty.txt")).refused(t, 404, "not_found")
	if !strings.Contains(r.Detail, "missing.bin") || !slices.Contains(paths(r.Completed), "artifacts/config.json") {
		t.Errorf("refusal %+v", r)
	}
	for _, f := range r.Completed {
		j.holds(t, f.Path, f.Size, f.Checksum)
	}
}

// TestF17Dialects: the four forms of the body give the same.
func TestF17Dialects(t *testing.T) {
	content := random(t, 117, 100000)
	url, _ := shared.origin.put(t, "f.bin", content)
	hf := `"repository":"org/model","filenames":["config.json","a/b/c.json"]`
	for _, tc := range []struct{ name, a, b string }{
		{"uri", `{"fetch":{"type":"URI","value":"` + url + `"},"out_dir":"artifacts"}`, `{"type":"uri","value":"` + url + `"}`},
		{"huggingface", `{"fetch":{"type":"HuggingFace",` + hf + `,"revision":"main"}}`, `{"type":"huggingface",` + hf + `,"revision":null,"token":null}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := newJob(t, shared.nodes[0]).fetch(t, tc.a)
			if len(want) == 0 {
				t.Fatal("nothing")
			}
			for _, body := range []string{tc.b, `{"resource":` + tc.b + `}`, `{"fetch":` + tc.b + `,"out_dir":null}`} {
				got := newJob(t, shared.nodes[0], "--work-dir", t.TempDir()).fetch(t, body)
				for i := range got {
					got[i].Metadata = want[i].Metadata
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", body, diff)
				}
			}
		})
	}
	var files []fetched
	j := newJob(t, shared.nodes[0])
	text, err := json.Marshal(url)
	ok(t, err)
	j.post(t, "/resources/fetch", string(text)).into(t, http.StatusOK, &files)
	j.holds(t, "artifacts/f.bin", int64(len(content)), digest(content))
}

// TestF09F10Unserved: schedulers' slices and slices of peers are known
// references that this node does not serve: it says so, at once, with a code of
// its own, and does not take them for a mistake of the executor.
func TestF09F10Unserved(t *testing.T) {
	j := newJob(t, shared.nodes[0])
	for name, ref := range map[string]map[string]any{
		"F9, scheduler": {"type": "scheduler", "peer": shared.ids[1], "dataset": "mnist"},
		"F10, peers": {
			"type": "peers", "peers": []string{shared.ids[1]}, "strategy": map[string]any{"type": "All"},
			"resource": map[string]any{"dataset": "d", "index": 0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := j.post(t, "/resources/fetch", ref).refused(t, http.StatusUnprocessableEntity, "unsupported_reference")
			if !strings.Contains(r.Detail, "slice") || !strings.Contains(r.Hint, "cids") {
				t.Errorf("says too little: %+v", r)
			}
		})
	}
}
