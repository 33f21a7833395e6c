package reflink

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Clone makes the empty file dst hold the size bytes of src that begin at
// offset off, sharing them. When it returns ErrUnsupported, dst is empty still
// or again.
func Clone(dst, src *os.File, off, size int64) error {
	err := clone(dst, src, off, size)
	if err == nil {
		return nil
	}
	if terr := empty(dst); terr != nil {
		return terr
	}
	for _, no := range []error{unix.EOPNOTSUPP, unix.EXDEV, unix.EINVAL, unix.ENOTTY, unix.ENOSYS, unix.EBADF, unix.EPERM, unix.ETXTBSY} {
		if errors.Is(err, no) {
			return fmt.Errorf("%w: %w", ErrUnsupported, err)
		}
	}
	return fmt.Errorf("clone %s: %w", src.Name(), err)
}

// empty takes away what a clone left. A file that is empty already is left alone:
// ext4 takes a truncation to nothing for the start of a rewrite, and has the last
// close wait until all that was written since is on its way to the disk (0.3 s
// for 1 GiB).
func empty(f *os.File) error {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	return f.Truncate(0)
}

// clone asks for whole file-system blocks, which is all that the kernel shares,
// and cuts dst to size afterwards.
func clone(dst, src *os.File, off, size int64) error {
	info, err := src.Stat()
	if err != nil {
		return err
	}
	if off < 0 || size < 0 || off > info.Size()-size {
		return fmt.Errorf("%d bytes at %d of a file of %d: %w", size, off, info.Size(), unix.EINVAL)
	}
	if size == 0 {
		return nil
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(src.Fd()), &stat); err != nil {
		return err
	}
	blk := int64(stat.Blksize)
	length := (size + blk - 1) / blk * blk
	if off+length > info.Size() {
		length = info.Size() - off // to the end of the file, which need not be aligned
	}
	err = unix.IoctlFileCloneRange(int(dst.Fd()), &unix.FileCloneRange{
		Src_fd:     int64(src.Fd()),
		Src_offset: uint64(off),
		Src_length: uint64(length),
	})
	if err != nil {
		return err
	}
	return dst.Truncate(size)
}
