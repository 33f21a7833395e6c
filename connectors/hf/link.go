package hf

import (
	"iter"
	"strings"
)

// Links yields the targets of Link fields (RFC 8288) with their relations, in lower
// case, in the order of the fields. What can't be read is left out.
func Links(fields []string) iter.Seq2[string, []string] {
	return func(yield func(string, []string) bool) {
		for _, field := range fields {
			for field != "" {
				_, rest, ok := strings.Cut(field, "<")
				if !ok {
					break
				}
				target, params, ok := strings.Cut(rest, ">")
				if !ok {
					break
				}
				// The parameters end where the next link begins.
				params, field, ok = strings.Cut(params, "<")
				if ok {
					field = "<" + field
				}
				if !yield(target, relations(params)) {
					return
				}
			}
		}
	}
}

// relations returns the relations that the parameters of a link state: those of the
// first rel (RFC 8288, section 3.3).
func relations(params string) []string {
	for param := range strings.SplitSeq(strings.TrimRight(params, ", \t"), ";") {
		key, value, _ := strings.Cut(param, "=")
		if strings.EqualFold(strings.TrimSpace(key), "rel") {
			return strings.Fields(strings.ToLower(strings.Trim(strings.TrimSpace(value), `"`)))
		}
	}
	return nil
}
