// Package dagcbor reads the parts of DAG-CBOR that a node needs: the links of a
// block, and the items of small headers. It builds no values.
//
// Input is hostile: lengths are compared with what is there before anything is
// allocated, nesting is counted and not recursed into, and what DAG-CBOR forbids
// (indefinite lengths, tags other than 42) is an error.
package dagcbor
