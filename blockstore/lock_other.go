//go:build !unix

package blockstore

import (
	"errors"
	"os"
)

func lockRepo(string, string) (*os.File, error) { return nil, errors.ErrUnsupported }

func unlockRepo(*os.File) error { return nil }
