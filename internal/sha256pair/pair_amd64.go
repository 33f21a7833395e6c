package sha256pair

// accelerated tells whether the processor has SHA-NI (CPUID leaf 7, EBX bit
// 29) with SSSE3 and SSE4.1 (leaf 1, ECX bits 9 and 19).
//
//go:noescape
func accelerated() bool

// blockPair runs the compression function of both states over the same message
// blocks; len(p) is a multiple of 64.
//
//go:noescape
func blockPair(a, b *[8]uint32, p []byte)

// blockTwo runs the compression function of each state over its own message
// blocks; p and q are of one length, a multiple of 64.
//
//go:noescape
func blockTwo(a, b *[8]uint32, p, q []byte)
