package xet

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"mime"
	"strings"
)

// Bounds of what stands between the parts of a multipart/byteranges body.
const (
	maxPartLine  = 4 << 10 // bytes of a line
	maxPartLines = 32      // lines before a part
)

// errParts says that a body is not the ranges that were asked for.
var errParts = errors.New("not the ranges that were asked for")

// byteParts reads the ranges of a multipart/byteranges body (RFC 9110, section
// 14.6), which must be those that were asked for, in their order.
type byteParts struct {
	src      *bufio.Reader
	boundary string
	begun    bool
	left     int64 // bytes of the present part
}

// newByteParts returns the parts of a body with that Content-Type.
func newByteParts(contentType string, body io.Reader) (*byteParts, error) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "multipart/byteranges" || params["boundary"] == "" || len(params["boundary"]) > 200 {
		return nil, fmt.Errorf("%w: the answer is no multipart/byteranges", errParts)
	}
	return &byteParts{src: bufio.NewReaderSize(body, maxPartLine), boundary: params["boundary"]}, nil
}

// next goes on to the next part, which must be that range.
func (p *byteParts) next(want span) error {
	if p.left > 0 {
		return fmt.Errorf("%w: a part was not read to its end", errParts)
	}
	if err := p.delimiter(); err != nil {
		return err
	}
	var told bool
	for range maxPartLines {
		line, err := p.line()
		if err != nil {
			return err
		}
		if line == "" {
			if !told {
				return fmt.Errorf("%w: a part without a Content-Range", errParts)
			}
			p.left = want.end - want.start
			return nil
		}
		name, value, _ := strings.Cut(line, ":")
		if !strings.EqualFold(strings.TrimSpace(name), "Content-Range") {
			continue
		}
		got, _, _ := strings.Cut(strings.TrimSpace(value), "/")
		if exact := fmt.Sprintf("bytes %d-%d", want.start, want.end-1); told || got != exact {
			return fmt.Errorf("%w: %.64q instead of %s", errParts, got, exact)
		}
		told = true
	}
	return fmt.Errorf("%w: too many lines before a part", errParts)
}

// delimiter reads what stands before a part.
func (p *byteParts) delimiter() error {
	for i := range maxPartLines {
		line, err := p.line()
		switch {
		case err != nil:
			return err
		case line == "--"+p.boundary && (!p.begun || i == 1):
			p.begun = true
			return nil
		case line == "--"+p.boundary+"--":
			return fmt.Errorf("%w: a part is missing", errParts)
		case p.begun && (line != "" || i > 0): // the end of the part before is that of a line
			return fmt.Errorf("%w: a part is longer than its range", errParts)
		}
	}
	return fmt.Errorf("%w: no part where one was to begin", errParts)
}

// line reads one line, without its end.
func (p *byteParts) line() (string, error) {
	line, err := p.src.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", fmt.Errorf("%w: a line of more than %d bytes", errParts, maxPartLine)
	}
	if err != nil {
		return "", inside(err)
	}
	return strings.TrimSuffix(string(line[:len(line)-1]), "\r"), nil
}

// Read reads the present part; io.EOF at its end.
func (p *byteParts) Read(b []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	n, err := p.src.Read(b[:min(int64(len(b)), p.left)])
	p.left -= int64(n)
	if p.left > 0 {
		err = inside(err)
	}
	return n, err
}
