package humanize

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{
		-1: "?", 0: "0 B", 1: "1 B", 1023: "1023 B", 1024: "1.00 KiB", 1536: "1.50 KiB",
		10 << 10: "10.0 KiB", 100 << 10: "100 KiB", 1<<20 - 1: "1.00 MiB", 1<<20 - 600: "1023 KiB",
		1 << 20: "1.00 MiB", 12<<20 + 300<<10: "12.3 MiB", 1 << 30: "1.00 GiB", 5 << 40: "5.00 TiB",
		math.MaxInt64: "8.00 EiB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-1: "?", 0: "0 ms", 350 * time.Millisecond: "350 ms", 1200 * time.Millisecond: "1.2 s",
		59940 * time.Millisecond: "59.9 s", 59960 * time.Millisecond: "1 m 0 s", 200 * time.Second: "3 m 20 s",
		2*time.Hour + 5*time.Minute: "2 h 5 m", 76 * time.Hour: "3 d 4 h",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "17B": 17, "1k": 1000, "1KB": 1000, "1KiB": 1024, "1ki": 1024, " 1.5 GiB ": 3 << 29,
		"10MB": 10_000_000, "2T": 2_000_000_000_000, "1EiB": 1 << 60,
	} {
		if got, err := ParseBytes(text); err != nil || got != want {
			t.Errorf("ParseBytes(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "B", "-1", "1..2", "1KK", "1 i", "1ib", "9EiB", "1e5", "0x10", "NaN", "Inf", "1,5G", "١"} {
		if got, err := ParseBytes(text); err == nil {
			t.Errorf("ParseBytes(%q) = %d, want an error", text, got)
		}
	}
}

func TestEscape(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "",
		"model-00001.safetensors":  "model-00001.safetensors",
		"größe 模型 🤗":               "größe 模型 🤗",
		"a\x1b[31mred":             `a\x1b[31mred`,
		"two\nlines\ttab\x00":      `two\nlines\ttab\x00`,
		"bad\xff\xfeutf8":          `bad\xff\xfeutf8`,
		"exe\u202ecod.":            `exe\u202ecod.`,
		"c1 \u009b":                `c1 \u009b`,
		"replacement \ufffd stays": `replacement \ufffd stays`,
	} {
		if got := Escape(text); got != want {
			t.Errorf("Escape(%q) = %q, want %q", text, got, want)
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("a\x1b[0m")
	f.Add("\u202e")
	f.Fuzz(func(t *testing.T, s string) {
		got := Escape(s)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !harmless(r) }) {
			t.Errorf("Escape(%q) = %q", s, got)
		}
	})
}

func FuzzParseBytes(f *testing.F) {
	f.Add("1.5GiB")
	f.Add("9223372036854775807")
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := ParseBytes(s); err == nil && n < 0 {
			t.Errorf("ParseBytes(%q) = %d", s, n)
		}
	})
}

func TestLine(t *testing.T) {
	for in, want := range map[string]string{
		"":                                     "",
		" two\r\nlines\x00 \xff of\u200btext ": "two lines of\u200btext",
		strings.Repeat("é", 150):               strings.Repeat("é", 100) + "…",
		"x" + strings.Repeat("é", 150):         "x" + strings.Repeat("é", 99) + "…",
	} {
		if got := Line(in); got != want {
			t.Errorf("Line(%q) = %q, want %q", in, got, want)
		}
	}
}
