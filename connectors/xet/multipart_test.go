package xet

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// parted is a sound body of two ranges.
const parted = "\r\n--b\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes 5-8/20\r\n\r\nfour\r\n--b\r\ncontent-range: bytes 10-12/20\r\n\r\nthr\r\n--b--\r\n"

// readParts reads the ranges of a body.
func readParts(contentType, body string, want ...span) (string, error) {
	p, err := newByteParts(contentType, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	var got bytes.Buffer
	for _, w := range want {
		if err := p.next(w); err != nil {
			return got.String(), err
		}
		if _, err := io.Copy(&got, p); err != nil {
			return got.String(), err
		}
	}
	return got.String(), nil
}

func TestByteParts(t *testing.T) {
	for _, body := range []string{parted, strings.TrimPrefix(parted, "\r\n"), "a preamble" + parted} {
		if got, err := readParts(`multipart/byteranges; boundary="b"`, body, span{5, 9}, span{10, 13}); got != "fourthr" || err != nil {
			t.Errorf("%q: %q, %v", body[:9], got, err)
		}
	}
}

func TestBytePartsLies(t *testing.T) {
	const kind = "multipart/byteranges; boundary=b"
	tests := map[string]struct{ kind, from, to string }{
		"one part":             {"application/octet-stream", "", ""},
		"no boundary":          {"multipart/byteranges", "", ""},
		"another type":         {"multipart/mixed; boundary=b", "", ""},
		"another boundary":     {"multipart/byteranges; boundary=c", "", ""},
		"another range":        {kind, "5-8", "4-7"},
		"a longer range":       {kind, "5-8", "5-9"},
		"no range":             {kind, "Content-Range: bytes 5-8/20\r\n", ""},
		"two ranges":           {kind, "Content-Range: bytes 5-8/20\r\n", "Content-Range: bytes 5-8/20\r\nContent-Range: bytes 5-8/20\r\n"},
		"another unit":         {kind, "bytes 5-8", "lines 5-8"},
		"more than the range":  {kind, "four", "four more"},
		"less than the range":  {kind, "four", "fo"},
		"a part is missing":    {kind, "four\r\n--b\r\n", "four\r\n--b--\r\n"},
		"it ends in a part":    {kind, "thr\r\n--b--\r\n", "th"},
		"it ends before one":   {kind, "\r\ncontent-range: bytes 10-12/20\r\n\r\nthr\r\n--b--\r\n", ""},
		"a long line":          {kind, "Content-Type: application", strings.Repeat("x", maxPartLine+1)},
		"many lines":           {kind, "Content-Type: application", strings.Repeat("a: b\r\n", maxPartLines)},
		"many lines before it": {kind, "\r\n--b\r\nContent-Type", strings.Repeat("x\r\n", maxPartLines) + "\r\n--b\r\nContent-Type"},
	}
	for name, tt := range tests {
		got, err := readParts(tt.kind, strings.Replace(parted, tt.from, tt.to, 1), span{5, 9}, span{10, 13})
		if !errors.Is(err, errParts) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	p, err := newByteParts(kind, strings.NewReader(parted))
	if err != nil || p.next(span{5, 9}) != nil {
		t.Fatal(err)
	}
	if err := p.next(span{10, 13}); !errors.Is(err, errParts) {
		t.Errorf("a part that was not read: %v", err)
	}
}

func FuzzByteParts(f *testing.F) {
	f.Add("multipart/byteranges; boundary=b", parted, int64(5), int64(9), int64(10), int64(13))
	f.Fuzz(func(t *testing.T, kind, body string, a, b, c, d int64) {
		one, two := span{a & 0xffff, a&0xffff + b&0xff + 1}, span{c & 0xffff, c&0xffff + d&0xff + 1}
		got, err := readParts(kind, body, one, two)
		if err == nil && int64(len(got)) != one.end-one.start+two.end-two.start {
			t.Fatalf("%d bytes of %v and %v", len(got), one, two)
		}
	})
}
