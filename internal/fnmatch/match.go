package fnmatch

import "strings"

// Select tells whether a path is chosen by allow (none: every path) and not
// taken away by ignore.
func Select(path string, allow, ignore []string) bool {
	return (len(allow) == 0 || matchAny(allow, path)) && !matchAny(ignore, path)
}

// matchAny tells whether one of the patterns matches.
func matchAny(patterns []string, path string) bool {
	for _, p := range patterns {
		if strings.HasSuffix(p, "/") {
			p += "*" // a directory means all that is in it
		}
		if match([]rune(p), []rune(path)) {
			return true
		}
	}
	return false
}

// match is Python's fnmatch.fnmatchcase, which the Hub's clients use on whole
// paths: * matches any run of characters, slashes too, ? one character, [seq]
// one of a set, [!seq] one outside. It takes at most len(pattern)·len(name)
// steps: only the last * is ever tried again.
func match(pattern, name []rune) bool {
	p, n := 0, 0
	star, mark := -1, 0
	for n < len(name) {
		if p < len(pattern) {
			if pattern[p] == '*' {
				star, mark = p, n
				p++
				continue
			}
			if ok, next := matchOne(pattern, p, name[n]); ok {
				p, n = next, n+1
				continue
			}
		}
		if star < 0 {
			return false
		}
		mark++
		p, n = star+1, mark
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchOne matches one character against the pattern's element at p, which is
// no star, and returns where the next element begins.
func matchOne(pattern []rune, p int, c rune) (ok bool, next int) {
	switch pattern[p] {
	case '?':
		return true, p + 1
	case '[':
		if end := setEnd(pattern, p); end >= 0 {
			return inSet(pattern[p+1:end], c), end + 1
		}
	}
	return pattern[p] == c, p + 1
}

// setEnd returns where the set that begins at p has its closing bracket, -1 if
// there is none: then the opening one is an ordinary character. A bracket that
// comes first in the set belongs to it.
func setEnd(pattern []rune, p int) int {
	i := p + 1
	if i < len(pattern) && pattern[i] == '!' {
		i++
	}
	if i < len(pattern) && pattern[i] == ']' {
		i++
	}
	for ; i < len(pattern); i++ {
		if pattern[i] == ']' {
			return i
		}
	}
	return -1
}

// inSet tells whether c is matched by a set, given without its brackets. A
// range whose ends are in the wrong order is empty.
func inSet(set []rune, c rune) bool {
	negated := len(set) > 0 && set[0] == '!'
	if negated {
		set = set[1:]
	}
	found := false
	for i := 0; i < len(set); {
		if i+2 < len(set) && set[i+1] == '-' {
			found = found || set[i] <= c && c <= set[i+2]
			i += 3
			continue
		}
		found = found || set[i] == c
		i++
	}
	return found != negated
}
