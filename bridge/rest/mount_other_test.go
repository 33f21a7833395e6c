//go:build !linux

package rest

import "errors"

// mountSmall can't mount anything here.
func mountSmall(string, int) (unmount func() error, err error) {
	return nil, errors.ErrUnsupported
}
