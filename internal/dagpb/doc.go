// Package dagpb reads the links of dag-pb blocks for those who need no more of
// them: which blocks lie under a block. It knows nothing of files, and does not
// say why a block is malformed.
package dagpb
