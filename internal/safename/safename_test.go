package safename

import (
	"errors"
	"path"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestSegment(t *testing.T) {
	long := strings.Repeat("a", MaxSegment)
	for _, s := range []string{
		"a", "model.safetensors", ".gitattributes", "..a", "a..", "...", "a b", "ä", "日本語", "ab:c", "con", "aux.go",
		"-rf", "~", "$HOME", "%2e%2e", "a;b", "*", long, ".hypha", ".hypha-tmp", "\u200fa",
	} {
		if err := segment(s, false); err != nil {
			t.Errorf("refused: %v", err)
		}
	}
	for name, s := range map[string]string{
		"empty": "", "dot": ".", "dot dot": "..", "slash": "a/b", "leading slash": "/a", "backslash": `a\b`, "backslash up": `..\a`,
		"NUL": "a\x00b", "newline": "a\nb", "escape": "\x1b[31mred", "delete": "a\x7f", "C1 control": "a\u009b",
		"drive": "C:", "drive relative": "c:x", "too long": long + "a", "not UTF-8": "a\xffb", "overlong slash": "a\xc0\xafb",
		"line separator": "a\u2028b", "right-to-left override": "a\u202egpj.exe", "isolate": "a\u2066b",
		"ours": ".hypha-tmp-1", "ours in capitals": ".HYPHA-TMP-1",
	} {
		t.Run(name, func(t *testing.T) {
			if err := segment(s, false); !errors.Is(err, ErrUnsafe) {
				t.Errorf("segment(%q) = %v, want ErrUnsafe", s, err)
			}
			if err := Path(s); !errors.Is(err, ErrUnsafe) && s != "a/b" {
				t.Errorf("Path(%q) = %v, want ErrUnsafe", s, err)
			}
			if err := check("dir/"+s, false); !errors.Is(err, ErrUnsafe) && s != "a/b" {
				t.Errorf("Path(%q) = %v, want ErrUnsafe", "dir/"+s, err)
			}
		})
	}
}

func TestSegmentWindows(t *testing.T) {
	for _, s := range []string{"CON", "con", "nul.txt", "Aux .x", "com1", "LPT9.log", "com¹", "conin$", "a.", "a ", "a:b", "a?", "a*", "a<", "a|", `a"`} {
		if err := segment(s, true); !errors.Is(err, ErrUnsafe) {
			t.Errorf("segment(%q) on Windows = %v, want ErrUnsafe", s, err)
		}
	}
	for _, s := range []string{"a", "console", "com", "com10", "lptx", "a.b", " a"} {
		if err := segment(s, true); err != nil {
			t.Errorf("on Windows: %v", err)
		}
	}
}

func TestPath(t *testing.T) {
	deep := strings.Repeat("a/", MaxDepth-1) + "a"
	long := strings.Repeat(strings.Repeat("a", 99)+"/", 40) + strings.Repeat("b", 96)
	for _, p := range []string{"a", "a/b/c", "a/.b", deep, long} {
		if err := check(p, false); err != nil {
			t.Errorf("refused: %v", err)
		}
	}
	for name, p := range map[string]string{
		"absolute": "/etc/passwd", "up": "../a", "up inside": "a/../b", "up at the end": "a/..", "double slash": "a//b",
		"trailing slash": "a/", "dot": "./a", "UNC": "//server/share", "too deep": deep + "/a", "too long": long + "c",
		"NUL": "a/b\x00", "drive": "c:/x", "drive below": "a/c:/x",
	} {
		t.Run(name, func(t *testing.T) {
			err := check(p, false)
			if !errors.Is(err, ErrUnsafe) {
				t.Fatalf("Path(%q) = %v, want ErrUnsafe", p, err)
			}
			if n := len(err.Error()); n > 1000 {
				t.Errorf("message of %d bytes", n)
			}
		})
	}
}

func TestFold(t *testing.T) {
	for _, pair := range [][2]string{{"README", "readme"}, {"Straẞe", "straße"}, {"ΣΊΣΥΦΟΣ", "σίσυφος"}, {"K", "k"}, {"a", "a"}} {
		if Fold(pair[0]) != Fold(pair[1]) {
			t.Errorf("%q and %q fold apart", pair[0], pair[1])
		}
	}
	if Fold("a") == Fold("b") {
		t.Error("a and b fold together")
	}
}

func TestClean(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"model.bin", "model.bin"},
		{"", "file"},
		{"..", "file"},
		{"a/b", "a_b"},
		{"a\x00", "a_"},
		{"q?x=1", "q_x=1"},
		{"\xff", "_"},
		{strings.Repeat("ä", 200), strings.Repeat("ä", 127)},
		{".hypha-tmp-x", "file"},
	} {
		if got := Clean(c.in, "file"); got != c.want {
			t.Errorf("Clean(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

// FuzzPath holds what the rest of the program builds on: an accepted path is
// its own clean form, goes down only, and shows as one line.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"a/b", "../x", "/x", "a//b", "C:/x", `a\b`, "a\x00", "ä/ß", "a/./b", ".hypha-tmp-/x", strings.Repeat("a/", 70)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, p string) {
		for _, windows := range []bool{false, true} {
			if check(p, windows) != nil {
				continue
			}
			if check(p, false) != nil {
				t.Fatalf("%q is accepted on Windows only", p)
			}
			if p != path.Clean(p) || strings.HasPrefix(p, "/") || strings.ContainsAny(p, "\\\x00\n\r\x1b") || !utf8.ValidString(p) {
				t.Fatalf("accepted %q", p)
			}
			for s := range strings.SplitSeq(p, "/") {
				if Segment(s) != nil || len(s) > MaxSegment {
					t.Fatalf("accepted %q with segment %q", p, s)
				}
			}
		}
		if c := Clean(p, "file"); Segment(c) != nil {
			t.Fatalf("Clean(%q) = %q is refused", p, c)
		}
	})
}
