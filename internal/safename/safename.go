package safename

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a name; bytes, not characters.
const (
	MaxSegment = 255  // bytes of one segment: NAME_MAX of Linux and macOS
	MaxPath    = 4096 // bytes of a whole path: PATH_MAX of Linux
	MaxDepth   = 64   // segments of a path
)

// Private begins the names that this program keeps for its own temporary
// files. No name from outside may begin so, in any case.
const Private = ".hypha-tmp-"

// ErrUnsafe is wrapped by every refusal of this package.
var ErrUnsafe = errors.New("unsafe name")

// Path tells whether p may name a file below a directory: 1 to MaxDepth
// segments, each accepted by Segment, joined by single slashes, at most MaxPath
// bytes. A refusal wraps ErrUnsafe and quotes the name.
func Path(p string) error { return check(p, runtime.GOOS == "windows") }

// Segment tells whether s may name one entry of a directory: not empty, valid
// UTF-8 of at most MaxSegment bytes, not "." or "..", without a slash, a
// backslash, a drive letter, control, line-separating or direction-changing
// characters, and not one of our own temporary names. On Windows the names and
// characters that it reserves are refused too. A refusal wraps ErrUnsafe and
// quotes the name.
func Segment(s string) error { return segment(s, runtime.GOOS == "windows") }

func check(p string, windows bool) error {
	if len(p) > MaxPath {
		return refuse(p, fmt.Sprintf("longer than %d bytes", MaxPath))
	}
	depth := 0
	for s := range strings.SplitSeq(p, "/") {
		if depth++; depth > MaxDepth {
			return refuse(p, fmt.Sprintf("deeper than %d segments", MaxDepth))
		}
		if err := segment(s, windows); err != nil {
			if s == p {
				return err
			}
			return fmt.Errorf("path %s: %w", quote(p), err)
		}
	}
	return nil
}

func segment(s string, windows bool) error {
	switch {
	case s == "":
		return refuse(s, "empty")
	case s == "." || s == "..":
		return refuse(s, "not a name")
	case len(s) > MaxSegment:
		return refuse(s, fmt.Sprintf("longer than %d bytes", MaxSegment))
	case !utf8.ValidString(s):
		return refuse(s, "not UTF-8")
	case len(s) >= 2 && s[1] == ':' && isLetter(s[0]):
		return refuse(s, "begins with a drive letter")
	case len(s) >= len(Private) && strings.EqualFold(s[:len(Private)], Private):
		return refuse(s, "reserved for temporary files")
	}
	if i := strings.IndexFunc(s, forbidden); i >= 0 {
		r, _ := utf8.DecodeRuneInString(s[i:])
		return refuse(s, fmt.Sprintf("holds %U", r))
	}
	if windows {
		return windowsSegment(s)
	}
	return nil
}

// forbidden tells whether r may not be part of a name: separators, control
// characters, and those that make a listing show something else than is there.
func forbidden(r rune) bool {
	switch {
	case r == '/', r == '\\', unicode.IsControl(r):
		return true
	case r == '\u2028', r == '\u2029': // line and paragraph separator
		return true
	case r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069': // bidirectional overrides
		return true
	}
	return false
}

// windowsSegment adds what Windows refuses or gives a second meaning.
// Source: learn.microsoft.com, "Naming Files, Paths, and Namespaces".
func windowsSegment(s string) error {
	if i := strings.IndexAny(s, `<>:"|?*`); i >= 0 {
		return refuse(s, fmt.Sprintf("holds %q", s[i]))
	}
	if last := s[len(s)-1]; last == '.' || last == ' ' {
		return refuse(s, "ends with a dot or a space")
	}
	base, _, _ := strings.Cut(s, ".")
	base = strings.ToUpper(strings.TrimRight(base, " "))
	switch base {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return refuse(s, "a device")
	}
	for _, port := range []string{"COM", "LPT"} {
		if rest, ok := strings.CutPrefix(base, port); ok && utf8.RuneCountInString(rest) == 1 && strings.ContainsAny(rest, "0123456789¹²³") {
			return refuse(s, "a device")
		}
	}
	return nil
}

// Fold returns s with every character replaced by one that stands for all its
// case variants, so that two names that a case-insensitive file system takes for
// one fold to the same string.
func Fold(s string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return unicode.ToLower(least) // most names are in lower case and stay as they are
	}, s)
}

// Clean makes a segment out of any string, for a name that must exist but need
// not be faithful (the last part of a URL): refused characters become "_", what
// is too long is cut at a character, and what is then still refused is replaced
// by fallback, which must be a safe segment.
func Clean(s, fallback string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || forbidden(r) || strings.ContainsRune(`<>:"|?*`, r) {
			return '_'
		}
		return r
	}, s)
	for len(s) > MaxSegment {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	if Segment(s) != nil {
		return fallback
	}
	return s
}

func isLetter(b byte) bool { return 'a' <= b|0x20 && b|0x20 <= 'z' }

func refuse(s, why string) error {
	return fmt.Errorf("%s: %s: %w", quote(s), why, ErrUnsafe)
}

// quote shows a hostile name in one harmless line of bounded length.
func quote(s string) string {
	if len(s) > 100 {
		return fmt.Sprintf("%.100q…", s)
	}
	return fmt.Sprintf("%q", s)
}
