//go:build unix

package diskspace

import (
	"math"
	"testing"
)

func TestProduct(t *testing.T) {
	for _, tt := range []struct {
		name    string
		n, unit uint64
		want    int64
	}{
		{"nothing", 0, 4096, 0},
		{"no unit", 7, 0, 0},
		{"some", 3, 4096, 12288},
		{"the most that fits", math.MaxInt64, 1, math.MaxInt64},
		{"too much", math.MaxUint64, 4096, math.MaxInt64},
		{"just too much", math.MaxInt64/4096 + 1, 4096, math.MaxInt64},
	} {
		if got := product(tt.n, tt.unit); got != tt.want {
			t.Errorf("%s: product(%d, %d) = %d, want %d", tt.name, tt.n, tt.unit, got, tt.want)
		}
	}
}
