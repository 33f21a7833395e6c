package fnmatch

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// TestMatchAgainstPython compares with fnmatch.fnmatchcase of Python 3.11.7: a
// row of the file is pattern, name, whether they match.
func TestMatchAgainstPython(t *testing.T) {
	f, err := os.Open("testdata/fnmatch.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	rows := 0
	for lines := bufio.NewScanner(f); lines.Scan(); rows++ {
		var row [3]any
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		pattern, name, want := row[0].(string), row[1].(string), row[2].(bool)
		if got := match([]rune(pattern), []rune(name)); got != want {
			t.Errorf("pattern %q, name %q: %t, want %t", pattern, name, got, want)
		}
	}
	if rows < 1000 {
		t.Errorf("%d rows", rows)
	}
}

func TestSelect(t *testing.T) {
	tests := []struct {
		allow, ignore []string
		path          string
		want          bool
	}{
		{nil, nil, "a", true},
		{[]string{"*.json"}, nil, "a/b.json", true},
		{[]string{"*.json"}, nil, "a/b.bin", false},
		{[]string{"*.bin", "*.json"}, nil, "b.json", true},
		{[]string{"onnx/"}, nil, "onnx/a/b", true},
		{[]string{"onnx/"}, nil, "onnx", false},
		{[]string{"onnx/"}, nil, "x/onnx/a", false},
		{nil, []string{"*.bin"}, "a.bin", false},
		{nil, []string{"*.bin"}, "a.json", true},
		{[]string{"*"}, []string{"*"}, "a", false},
	}
	for _, tt := range tests {
		if got := Select(tt.path, tt.allow, tt.ignore); got != tt.want {
			t.Errorf("allow %q, ignore %q, %q: %t", tt.allow, tt.ignore, tt.path, got)
		}
	}
}

// TestMatchCost: a pattern made to be slow is not.
func TestMatchCost(t *testing.T) {
	pattern := []rune(strings.Repeat("*a", 2000) + "b")
	name := []rune(strings.Repeat("a", 4000))
	if match(pattern, name) {
		t.Error("matches")
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("*.json", "a/b.json")
	f.Add("[!a-c]?[]", "[x")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 1000 || len(name) > 1000 {
			return
		}
		got := match([]rune(pattern), []rune(name))
		if !strings.ContainsAny(pattern, "*?[") && got != (string([]rune(pattern)) == string([]rune(name))) {
			t.Errorf("%q, %q: %t without anything special", pattern, name, got)
		}
		if !match([]rune("*"+pattern+"*"), []rune(name)) && got {
			t.Errorf("%q matches %q, but not between stars", pattern, name)
		}
		if !match([]rune("*"), []rune(name)) {
			t.Errorf("* does not match %q", name)
		}
	})
}
