//go:build !linux

package vfs

import "errors"

func (f *osFile) Sync() error { return f.failed("fsync", f.f.Sync()) }

func (f *osFile) Flush(_, _ int64) error { return nil }

func (f *osFile) Allocate(_ int64) error { return nil }

func (f *osFile) Punch(_, _ int64) error { return errors.ErrUnsupported }
