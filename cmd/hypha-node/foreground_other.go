//go:build !unix

package main

import "os"

// commandInput returns what the command of a job reads.
func commandInput(stdin *os.File) *os.File { return stdin }
