package humanize

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// units are the binary prefixes that fit into an int64.
const units = "KMGTPE"

// Bytes returns a size with three significant digits: "0 B", "1023 B",
// "1.00 KiB", "12.3 MiB", "1.23 GiB". Negative sizes are unknown: "?".
func Bytes(n int64) string {
	if n < 0 {
		return "?"
	}
	if n < 1<<10 {
		return strconv.FormatInt(n, 10) + " B"
	}
	value, unit := float64(n), -1
	// 1023.5 would be written as 1024: the next unit is due before.
	for value >= 1023.5 && unit < len(units)-1 {
		value /= 1 << 10
		unit++
	}
	digits := 2
	switch {
	case value >= 99.95:
		digits = 0
	case value >= 9.995:
		digits = 1
	}
	return fmt.Sprintf("%.*f %ciB", digits, value, units[unit])
}

// Duration returns a time span with two units at most: "350 ms", "1.2 s",
// "3 m 20 s", "2 h 5 m", "3 d 4 h".
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "?"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < 59950*time.Millisecond:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	s := int64(math.Round(d.Seconds()))
	for _, u := range []struct {
		of, part     int64 // seconds
		name, second string
	}{{86400, 3600, "d", "h"}, {3600, 60, "h", "m"}, {60, 1, "m", "s"}} {
		if s >= u.of {
			return fmt.Sprintf("%d %s %d %s", s/u.of, u.name, s%u.of/u.part, u.second)
		}
	}
	return fmt.Sprintf("%d s", s)
}

// ParseBytes reads a size: a number with an optional unit, "1048576", "512KiB",
// "1.5 GiB", "10MB". K, KB are 1000 and Ki, KiB 1024; case does not matter.
func ParseBytes(s string) (int64, error) {
	text := strings.TrimSpace(s)
	end := strings.IndexFunc(text, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
	if end < 0 {
		end = len(text)
	}
	value, err := strconv.ParseFloat(text[:end], 64)
	if err != nil {
		return 0, fmt.Errorf("size %q: %w", s, errors.New("want a number and a unit, as in 512MiB"))
	}
	factor, ok := unit(strings.ToLower(strings.TrimSpace(text[end:])))
	if !ok {
		return 0, fmt.Errorf("size %q: unknown unit, want B, KB, KiB, MB, MiB, GB, GiB, …", s)
	}
	n := value * factor
	if n >= math.MaxInt64 {
		return 0, fmt.Errorf("size %q is too large", s)
	}
	return int64(n), nil
}

// unit returns the factor of a lower-case unit.
func unit(name string) (float64, bool) {
	name = strings.TrimSuffix(name, "b")
	base := 1000.0
	if rest, ok := strings.CutSuffix(name, "i"); ok {
		name, base = rest, 1024
		if name == "" {
			return 0, false
		}
	}
	if name == "" {
		return 1, true
	}
	i := strings.Index(strings.ToLower(units), name)
	if i < 0 || len(name) != 1 {
		return 0, false
	}
	return math.Pow(base, float64(i+1)), true
}

// Escape returns s with everything that is not printable, or that changes the
// direction of text, written as an escape: a name from outside can't move the
// cursor, change colours or pretend to be another name.
func Escape(s string) string {
	clean := true
	for _, r := range s {
		if !harmless(r) {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case harmless(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		i += n
	}
	return b.String()
}

// harmless tells whether a rune prints as itself, in its place.
func harmless(r rune) bool {
	return r != utf8.RuneError && unicode.IsPrint(r) && !unicode.Is(unicode.Bidi_Control, r)
}

// lineMost is the longest that Line returns, without the ellipsis: bytes.
const lineMost = 200

// Line makes outside text fit for an error: printable, in one line, of bounded
// length.
func Line(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > lineMost {
		s = strings.ToValidUTF8(s[:lineMost], "") + "…"
	}
	return s
}
