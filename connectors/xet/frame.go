package xet

import (
	"encoding/binary"
	"fmt"

	"github.com/pierrec/lz4/v4"
)

// Of an LZ4 frame (lz4_Frame_format.md, version 1.6.4).
const (
	frameMagic = 0x184D2204

	flagVersion      = 0b1100_0000 // 01
	flagBlockSum     = 1 << 4
	flagSize         = 1 << 3
	flagSum          = 1 << 2
	flagReserved     = 1 << 1
	flagDictionary   = 1 << 0
	blockPlain       = 1 << 31 // in a block's length: it is not compressed
	frameDictionary  = 64 << 10
	frameMinimum     = 7 // bytes of the shortest head
	frameSizeOfSize  = 8
	frameSizeOfCheck = 4
)

// unframe decodes one LZ4 frame, which must give exactly dst and take all of src.
// It needs no memory of its own: a library's reader keeps blocks of up to 4 MiB,
// as many frames announce for chunks of 64 KiB. Checksums are not looked at, for
// the digest of the file is.
func unframe(dst, src []byte) error {
	if len(src) < frameMinimum || binary.LittleEndian.Uint32(src) != frameMagic {
		return fmt.Errorf("%w: no LZ4 frame", errMalformed)
	}
	flags := src[4]
	if flags&flagVersion != 1<<6 || flags&(flagReserved|flagDictionary) != 0 {
		return fmt.Errorf("%w: LZ4 frame with flags %#x", errMalformed, flags)
	}
	head := frameMinimum
	if flags&flagSize != 0 {
		head += frameSizeOfSize
	}
	if len(src) < head {
		return fmt.Errorf("%w: cut LZ4 frame", errMalformed)
	}
	src = src[head:]
	done := 0
	for {
		block, plain, rest, err := nextBlock(src, flags)
		if err != nil {
			return err
		}
		src = rest
		if block == nil {
			break
		}
		n, err := unblock(dst, done, block, plain)
		if err != nil {
			return err
		}
		done += n
	}
	if flags&flagSum != 0 {
		if len(src) < frameSizeOfCheck {
			return fmt.Errorf("%w: cut LZ4 frame", errMalformed)
		}
		src = src[frameSizeOfCheck:]
	}
	if done != len(dst) || len(src) > 0 {
		return fmt.Errorf("%w: LZ4 frame of %d bytes instead of %d", errMalformed, done, len(dst))
	}
	return nil
}

// nextBlock takes the next block off a frame; nil where the last one was before.
func nextBlock(src []byte, flags byte) (block []byte, plain bool, rest []byte, err error) {
	if len(src) < 4 {
		return nil, false, nil, fmt.Errorf("%w: cut LZ4 frame", errMalformed)
	}
	size := binary.LittleEndian.Uint32(src)
	if src = src[4:]; size == 0 {
		return nil, false, src, nil
	}
	plain = size&blockPlain != 0
	n := int64(size &^ blockPlain)
	whole := n
	if flags&flagBlockSum != 0 {
		whole += frameSizeOfCheck
	}
	if n == 0 || whole > int64(len(src)) {
		return nil, false, nil, fmt.Errorf("%w: LZ4 block of %d bytes", errMalformed, n)
	}
	return src[:n], plain, src[whole:], nil
}

// unblock decodes a block to where what was decoded before ends, and returns how
// many bytes it gave. It may copy from those before.
func unblock(dst []byte, done int, block []byte, plain bool) (int, error) {
	if plain {
		if len(block) > len(dst)-done {
			return 0, fmt.Errorf("%w: LZ4 frame of more than %d bytes", errMalformed, len(dst))
		}
		return copy(dst[done:], block), nil
	}
	n, err := lz4.UncompressBlockWithDict(block, dst[done:], dst[max(0, done-frameDictionary):done])
	if err != nil {
		return 0, fmt.Errorf("%w: LZ4: %w", errMalformed, err)
	}
	return n, nil
}
