package main

import (
	"testing"

	"github.com/hypha-node/hypha-node/jobs"
	"github.com/hypha-node/hypha-node/jobs/isolate"
)

func TestParseUsers(t *testing.T) {
	for text, want := range map[string]jobs.Users{
		"70000-70999": {First: 70000, Count: 1000}, "1-1": {First: 1, Count: 1}, " 5 - 6 ": {First: 5, Count: 2},
	} {
		if got, err := parseUsers(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-", "5", "0-5", "-1-5", "6-5", "1-2147483647", "1-99999999999999999999", "a-b", "1-2-3", "1–2"} {
		if got, err := parseUsers(text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func TestIsolationFlags(t *testing.T) {
	i := jobs.Isolation{Mode: isolate.Landlock, Read: []string{"/spec"}}
	f := isolationFlags{Isolation: "namespace", Read: []string{"/a/../b"}, WorkAt: []string{"/golem/work"}, HideNetwork: true}
	if err := f.apply(&i); err != nil || i.Mode != isolate.Namespace || len(i.Read) != 2 || i.Read[1] != "/b" || !i.HideNetwork {
		t.Errorf("%+v, %v", i, err)
	}
	for _, f := range []isolationFlags{{Isolation: "strict"}, {HideNetwork: true}, {Isolation: "auto", WorkAt: []string{"/x"}}} {
		err := f.apply(&jobs.Isolation{})
		if got := classify(err); got == nil || got.code != exitUsage {
			t.Errorf("%+v: %v", f, err)
		}
	}
}
