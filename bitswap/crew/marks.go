package crew

// marks are a set of ranges.
type marks []byte

func newMarks(n int) marks { return make(marks, (n+7)/8) }

func (m marks) has(i int) bool { return m[i/8]&(1<<(i%8)) != 0 }

func (m marks) put(i int, set bool) {
	if set {
		m[i/8] |= 1 << (i % 8)
	} else {
		m[i/8] &^= 1 << (i % 8)
	}
}

// count returns how many of the ranges from first on, and before end, are in the set.
func (m marks) count(first, end int) (n int) {
	for i := first; i < end; i++ {
		if m.has(i) {
			n++
		}
	}
	return n
}

// differs calls f for each run of what m has and old has not, and the other way round.
func (m marks) differs(old marks, f func(first, n int, set bool)) {
	for i := 0; i < 8*len(m); {
		if m[i/8] == old[i/8] {
			i += 8 - i%8
			continue
		}
		if m.has(i) == old.has(i) {
			i++
			continue
		}
		first, set := i, m.has(i)
		for i < 8*len(m) && m.has(i) == set && old.has(i) != set {
			i++
		}
		f(first, i-first, set)
	}
}
