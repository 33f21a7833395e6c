package file

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/internal/safename"
)

// settled is how old a file's last change must be for its time to tell it from a
// later one: file systems count in steps of up to 2 s.
const settled = 3 * time.Second

// Connector turns file references into items. It is safe for concurrent use.
type Connector struct {
	now func() time.Time
}

var _ connectors.Connector = (*Connector)(nil)

// New returns a connector; it has nothing to close. now is time.Now, nil too.
func New(now func() time.Time) *Connector {
	if now == nil {
		now = time.Now
	}
	return &Connector{now: now}
}

// Supports takes references of type file.
func (c *Connector) Supports(ref connectors.Ref) bool { return ref.Type == connectors.TypeFile }

// Items yields the file that the reference names or, by name, the files below a
// directory: regular ones and links to such, none whose name or whose directory's
// name begins with a dot. Jobs are refused: ErrForbidden.
func (c *Connector) Items(ctx context.Context, ref connectors.Ref, acc connectors.Access) iter.Seq2[connectors.Item, error] {
	return func(yield func(connectors.Item, error) bool) {
		if !acc.Operator {
			yield(connectors.Item{}, &connectors.Error{
				Op: "resolve", Source: "file://", Err: fmt.Errorf("%w: jobs can't read the node's files", connectors.ErrForbidden),
				Hint: "the operator can `hypha-node add` the file; the job fetches it as ipfs://CID",
			})
			return
		}
		info, err := os.Stat(ref.Value)
		switch {
		case err != nil:
			yield(connectors.Item{}, failed("resolve", ref.Value, err))
		case info.Mode().IsRegular():
			name := ref.Filename
			if name == "" {
				name = safename.Clean(filepath.Base(ref.Value), "file.bin")
			}
			yield(c.item(ref, ref.Value, name, info), nil)
		case info.IsDir() && ref.Filename != "":
			yield(connectors.Item{}, &connectors.FieldError{Field: "filename", Problem: "is for one file, not for a directory"})
		case info.IsDir():
			c.below(ctx, ref, yield)
		default:
			yield(connectors.Item{}, failed("resolve", ref.Value, fmt.Errorf("%w: it is no regular file", connectors.ErrInvalid)))
		}
	}
}

// below yields the files below a directory.
func (c *Connector) below(ctx context.Context, ref connectors.Ref, yield func(connectors.Item, error) bool) {
	err := filepath.WalkDir(ref.Value, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return failed("resolve", path, err)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case path == ref.Value:
			return nil
		case strings.HasPrefix(d.Name(), ".") && d.IsDir():
			return fs.SkipDir
		case strings.HasPrefix(d.Name(), "."), d.IsDir():
			return nil
		}
		info, err := os.Stat(path) // a link to a file is the file
		if err != nil || !info.Mode().IsRegular() {
			return nil //nolint:nilerr // a link to nowhere, or what is no file
		}
		rel, err := filepath.Rel(ref.Value, path)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		if err := safename.Path(name); err != nil {
			return failed("resolve", path, fmt.Errorf("%w: its name is refused: %w", connectors.ErrInvalid, err))
		}
		if !yield(c.item(ref, path, name, info), nil) {
			return fs.SkipAll
		}
		return nil
	})
	if err != nil {
		yield(connectors.Item{}, err)
	}
}

// item returns the item of one file.
func (c *Connector) item(ref connectors.Ref, path, name string, info fs.FileInfo) connectors.Item {
	return connectors.Item{
		Path: name, Size: info.Size(), Source: "file", Local: true, URL: "file://" + filepath.ToSlash(path), SHA256: ref.SHA256(), Key: "file:" + path,
		Open: func(ctx context.Context, off, n int64, cond []byte) (*connectors.Body, error) {
			return c.open(ctx, path, off, n, cond, ref.Checksum != "")
		},
	}
}

// validator is what a file is known by as long as nobody changes it.
type validator struct {
	ETag string `json:"etag"` // "<size>-<time of change in ns>"
}

// open opens a range of a file; digest says that the content will be compared with one.
func (c *Connector) open(ctx context.Context, path string, off, n int64, cond []byte, digest bool) (_ *connectors.Body, err error) {
	if off < 0 {
		return nil, failed("open", path, fmt.Errorf("%w: negative offset", connectors.ErrInvalid))
	}
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: it is no regular file", connectors.ErrInvalid)
	}
	if err != nil {
		return nil, failed("open", path, err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, failed("open", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if info, err = f.Stat(); err != nil {
		return nil, failed("open", path, err)
	}
	is := validator{ETag: strconv.FormatInt(info.Size(), 10) + "-" + strconv.FormatInt(info.ModTime().UnixNano(), 10)}
	sure := c.now().Sub(info.ModTime()) >= settled
	var was validator
	same := sure && len(cond) > 0 && json.Unmarshal(cond, &was) == nil && was == is
	switch {
	case off == 0 && same:
		return nil, connectors.ErrNotModified
	case off > 0 && len(cond) > 0 && !same && !digest:
		return nil, failed("open", path, connectors.ErrChanged)
	}
	if off > info.Size() {
		return nil, failed("open", path, fmt.Errorf("%w: it has %d bytes", connectors.ErrUpstream, info.Size()))
	}
	body := &connectors.Body{Size: info.Size()}
	if sure {
		body.ETag = is.ETag
		if body.Meta, err = json.Marshal(is); err != nil {
			return nil, err
		}
	}
	length := info.Size() - off
	if n >= 0 {
		length = min(length, n)
	}
	body.ReadCloser = &reader{
		Reader: io.NewSectionReader(f, off, length), f: f, info: info, path: path,
		ended: func() error { return context.Cause(ctx) }, closing: sync.OnceValue(f.Close),
	}
	return body, nil
}

// reader reads a file that must not change meanwhile.
type reader struct {
	io.Reader
	f     *os.File
	info  fs.FileInfo // when it was opened
	path  string
	ended func() error // why nobody reads any more; nil if somebody does

	closing func() error
}

// Read returns the next bytes; the end comes only if the file still is what it was.
func (r *reader) Read(p []byte) (int, error) {
	if err := r.ended(); err != nil {
		return 0, err
	}
	n, err := r.Reader.Read(p)
	switch {
	case err == nil:
		return n, nil
	case err != io.EOF:
		return n, failed("read", r.path, err)
	}
	now, serr := r.f.Stat()
	if serr != nil {
		return n, failed("read", r.path, serr)
	}
	if now.Size() != r.info.Size() || !now.ModTime().Equal(r.info.ModTime()) {
		return n, failed("read", r.path, fmt.Errorf("%w: it was changed while it was read", connectors.ErrUpstream))
	}
	return n, io.EOF
}

// Close closes the file. It may be called again.
func (r *reader) Close() error { return r.closing() }

// failed returns an error about a file, of a kind that others understand.
func failed(op, path string, err error) error {
	var kind error
	switch {
	case errors.Is(err, fs.ErrNotExist):
		kind = connectors.ErrNotFound
	case errors.Is(err, fs.ErrPermission):
		kind = connectors.ErrUnauthorized
	case errors.Is(err, connectors.ErrInvalid), errors.Is(err, connectors.ErrChanged), errors.Is(err, connectors.ErrUpstream):
		return &connectors.Error{Op: op, Source: "file://" + filepath.ToSlash(path), Err: err}
	default:
		kind = connectors.ErrUpstream
	}
	return &connectors.Error{Op: op, Source: "file://" + filepath.ToSlash(path), Err: fmt.Errorf("%w: %w", kind, err)}
}
