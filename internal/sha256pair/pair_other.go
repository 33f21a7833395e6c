//go:build !amd64

package sha256pair

func accelerated() bool { return false }

// blockPair is never called where accelerated is false.
func blockPair(_, _ *[8]uint32, _ []byte) {}

// blockTwo is never called where accelerated is false.
func blockTwo(_, _ *[8]uint32, _, _ []byte) {}
