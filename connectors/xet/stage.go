package xet

import (
	"bytes"
	"fmt"
	"io"
)

// fetchAll asks for all ranges of a signed URL in one request, and keeps what the
// plan's terms need of them. When they are too large to be kept, none is.
func (b *body) fetchAll(f fetch, t term) error {
	resp, err := b.get(f.url, f.header()) //nolint:bodyclose // release and Close do
	if err != nil {
		return err
	}
	b.hold(resp.Body)
	defer b.release()
	parts, err := newByteParts(resp.Header.Get("Content-Type"), io.LimitReader(resp.Body, f.size()+int64(len(f.ranges)+1)*maxPartLine))
	if err != nil {
		return err
	}
	room := b.room()
	got := make([]stage, 0, len(f.ranges))
	for _, r := range f.ranges {
		if err := parts.next(r.bytes); err != nil {
			return err
		}
		s, err := b.unpack(parts, t.xorb, r, room)
		if err != nil {
			return err
		}
		if room -= s.size; room < 0 {
			b.large = true
			return nil
		}
		got = append(got, s)
	}
	b.staged = append(b.staged, got...)
	_, _ = io.CopyN(io.Discard, parts.src, maxPartLine) //nolint:errcheck // the last boundary: only to keep its connection
	return nil
}

// room returns how much more may be kept: bytes.
func (b *body) room() int64 {
	room := int64(maxStage)
	for _, s := range b.staged {
		room -= s.size
	}
	return room
}

// unpack decodes one range, of which it keeps a little more than room at most.
func (b *body) unpack(parts *byteParts, xorb string, r packed, room int64) (stage, error) {
	s := stage{xorb: xorb, chunks: r.chunks}
	b.run.from.reset(parts)
	for range r.chunks.end - r.chunks.start {
		chunk, err := b.run.from.next()
		if err != nil {
			return s, b.file.upstream("read", fmt.Errorf("xorb: %w", inside(err)))
		}
		s.data = append(s.data, bytes.Clone(chunk))
		if s.size += int64(len(chunk)); s.size > room {
			return s, nil
		}
	}
	if parts.left > 0 {
		return s, fmt.Errorf("%w: %d bytes behind the last chunk of a range", errMalformed, parts.left)
	}
	return s, nil
}

// unstage makes the chunks of a term the next ones, if they are kept.
func (b *body) unstage(t term) bool {
	for _, s := range b.staged {
		if s.xorb != t.xorb || !s.chunks.has(t.chunks) {
			continue
		}
		first := t.chunks.start - s.chunks.start
		b.run = run{xorb: t.xorb, chunks: t.chunks, from: b.run.from, kept: s.data[first : first+t.chunks.end-t.chunks.start]}
		return true
	}
	return false
}
