//go:build !linux

package blockstore

import "errors"

const childMount = "HYPHA_STORE_MOUNT"

func runFull(string, string) error { return errors.ErrUnsupported }
