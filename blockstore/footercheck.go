package blockstore

import (
	"errors"
	"io"

	"github.com/hypha-node/hypha-node/blockstore/internal/vfs"
)

// footerPlace is where one copy of a footer lies, with its trailer.
type footerPlace struct{ off, length int64 }

// checkFooters looks at both copies in a segment of size bytes. It returns the
// bytes of a good one with its trailer, nil if there is none, and the places
// where a bad one lies, as far as the good one tells.
func checkFooters(r io.ReaderAt, size int64) (good []byte, bad []footerPlace, err error) {
	t, err := findTrailer(r, size)
	if errors.Is(err, errFooter) {
		return nil, []footerPlace{{off: size}}, nil
	}
	if err != nil {
		return nil, nil, err
	}
	n := t.length + trailerLength
	good = make([]byte, n)
	if _, err := r.ReadAt(good, t.off); err != nil {
		return nil, nil, err
	}
	other := t.off - n // of the first copy
	if t.off+n != size {
		other = t.off + n
	}
	if other < 0 {
		return good, nil, nil
	}
	b := make([]byte, n)
	if _, err := r.ReadAt(b, other); err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	if string(b[:t.length]) == string(good[:t.length]) {
		if o, ok := parseTrailer(b[t.length:], other+t.length); ok && o.off == other {
			return good, nil, nil
		}
	}
	return good, []footerPlace{{off: other, length: n}}, nil
}

// mendFooter writes the bad copy of a footer again.
func (d *Disk) mendFooter(id uint64, good []byte, bad footerPlace) error {
	if err := d.space.want(bad.length); err != nil {
		return err
	}
	f, err := d.segs.fs.Open(segmentName(id), vfs.Write)
	if err != nil {
		return err
	}
	foot := good[:len(good)-trailerLength]
	_, err = f.WriteAt(appendTrailer(append(make([]byte, 0, len(good)), foot...), foot, bad.off), bad.off)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
