//go:build !linux

package main

import (
	"context"
	"errors"

	"github.com/hypha-node/hypha-node/testground/cases"
)

// able tells why shaped links can't be had.
func able() error {
	return errors.New("network namespaces need Linux: make sim plays the same cases in virtual time")
}

// playCase is never called.
func playCase(context.Context, options, cases.Case) (cases.Row, error) { return cases.Row{}, able() }
