package isolate

import (
	"path/filepath"
	"strings"
	"testing"
)

// FuzzShebang: what a script names is an absolute path, or nothing.
func FuzzShebang(f *testing.F) {
	for _, line := range []string{"#!/bin/sh\n", "#! /usr/bin/env python3 -u", "#!", "#!x", "", "#!/a/../b", "#!\x00", "#!/\xff\n"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		got := shebang(line)
		if got != "" && (!filepath.IsAbs(got) || filepath.Clean(got) != got || !strings.HasPrefix(line, "#!") || strings.ContainsAny(got, " \t\n\x00")) {
			t.Errorf("%q: %q", line, got)
		}
	})
}

// FuzzRealTimeLimit: no text of limits is taken for a process without the mark
// unless it says so.
func FuzzRealTimeLimit(f *testing.F) {
	const head = "Limit                     Soft Limit           Hard Limit           Units     \n"
	for _, line := range []string{
		"Max realtime timeout      unlimited            unlimited            us        \n",
		"Max realtime timeout      9 18446744073709551614 us\n", "Max realtime timeout", "Max realtime timeout x -1", "",
	} {
		f.Add(head + line)
	}
	f.Fuzz(func(t *testing.T, text string) {
		limit, err := realTimeLimit(text)
		if err == nil && !strings.Contains(text, "Max realtime timeout") {
			t.Errorf("%q: %d", text, limit)
		}
		if err != nil && limit != 0 && limit != 1<<64-1 {
			t.Errorf("%q: %d with %v", text, limit, err)
		}
	})
}
