package rpc

import (
	"errors"
	"io"
	"iter"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"

	"github.com/hypha-node/hypha-node/internal/safename"
)

// Kinds of parts, by their Content-Type; others are files.
const (
	kindDirectory = "application/x-directory"
	kindSymlink   = "application/symlink"
)

// maxParts bounds the files and directories of one upload.
const maxParts = 100_000

// part is one file or directory of an upload.
type part struct {
	path    []string // segments, each a safe name; none: it was not named
	dir     bool
	content io.Reader // of a file; read before the next part is asked for
}

// parts yields what an upload holds, in its order.
func (c *call) parts() iter.Seq2[part, error] {
	return func(yield func(part, error) bool) {
		// Sent as a form with values of its own, or not as one at all, it is no upload.
		in, err := c.r.MultipartReader()
		if err != nil {
			yield(part{}, refused(http.StatusBadRequest, "the body is no multipart upload: %v", err))
			return
		}
		for n := 0; ; n++ {
			raw, err := in.NextRawPart()
			if errors.Is(err, io.EOF) {
				return
			}
			if err == nil && n == maxParts {
				err = refused(http.StatusRequestEntityTooLarge, "more than %d files and directories", maxParts)
			}
			var p part
			if err == nil {
				p, err = readPart(raw)
			}
			if err != nil {
				yield(part{}, uploadError(err))
				return
			}
			if !yield(p, nil) {
				return
			}
		}
	}
}

// uploadError returns the error for an upload that can't be read.
func uploadError(err error) error {
	if _, ok := errors.AsType[*failure](err); ok {
		return err
	}
	return refused(http.StatusBadRequest, "upload: %v", err)
}

// readPart reads the header of a part.
func readPart(raw *multipart.Part) (part, error) {
	kind, _, err := mime.ParseMediaType(raw.Header.Get("Content-Type"))
	if err != nil {
		kind = "" // a file
	}
	p := part{dir: kind == kindDirectory, content: partReader{raw}}
	if kind == kindSymlink {
		return p, refused(http.StatusBadRequest, "symlinks are not taken here")
	}
	if raw.Header.Get("Abspath") != "" && kind == "" {
		return p, refused(http.StatusBadRequest, "files can't be taken by their path: send their content")
	}
	_, params, err := mime.ParseMediaType(raw.Header.Get("Content-Disposition"))
	if err != nil {
		return p, refused(http.StatusBadRequest, "part without a Content-Disposition: %v", err)
	}
	if strings.Contains(params["name"], "?") {
		return p, refused(http.StatusBadRequest, "mode and mtime are not kept here")
	}
	p.path, err = splitName(params["filename"])
	return p, err
}

// partReader says of its errors that they are the upload's.
type partReader struct{ io.Reader }

// Read reads content.
func (r partReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	if err != nil && !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = uploadError(err)
	}
	return n, err
}

// splitName reads the name of a part, which is escaped as in a URL.
func splitName(text string) ([]string, error) {
	name, err := url.QueryUnescape(text)
	if err != nil {
		return nil, refused(http.StatusBadRequest, "file name %.100q: %v", text, err)
	}
	name = strings.Trim(name, "/")
	if name == "" || name == "." {
		return nil, nil
	}
	path := strings.Split(name, "/")
	if len(path) > safename.MaxDepth || len(name) > safename.MaxPath {
		return nil, refused(http.StatusBadRequest, "file name %.100q: it is too long or too deep", name)
	}
	for _, segment := range path {
		if err := safename.Segment(segment); err != nil {
			return nil, refused(http.StatusBadRequest, "file name %.100q: %v", name, err)
		}
	}
	return path, nil
}
