//go:build tools

// Package tools pins the testground program that make testground-upstream builds.
package tools

import _ "github.com/testground/testground"
