package ingest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"strings"

	"github.com/hypha-node/hypha-node/connectors"
)

// Resolve yields the items of a reference, on behalf of acc. It stops at the
// first error; connectors.ErrUnsupported when no connector takes the reference.
// Where the reference states a checksum it must stand for one item, which has it.
func (e *Engine) Resolve(ctx context.Context, ref connectors.Ref, acc connectors.Access) iter.Seq2[connectors.Item, error] {
	if ref.Checksum == "" {
		return e.resolve(ctx, ref, acc)
	}
	return func(yield func(connectors.Item, error) bool) {
		yield(e.checked(ctx, ref, acc))
	}
}

// resolve is Resolve without a checksum.
func (e *Engine) resolve(ctx context.Context, ref connectors.Ref, acc connectors.Access) iter.Seq2[connectors.Item, error] {
	c, err := e.cfg.Connectors.For(ref)
	if err != nil {
		return func(yield func(connectors.Item, error) bool) { yield(connectors.Item{}, err) }
	}
	return c.Items(ctx, ref, acc)
}

// checked returns the one item of a reference with the checksum that this states,
// or that the sidecar does.
func (e *Engine) checked(ctx context.Context, ref connectors.Ref, acc connectors.Access) (connectors.Item, error) {
	it, err := e.only(ctx, ref, acc)
	if err != nil {
		return it, err
	}
	sum := ref.SHA256()
	if ref.Checksum == connectors.ChecksumSidecar {
		if sum, err = e.sidecar(ctx, ref, acc, it.Path); err != nil {
			return it, err
		}
	}
	if it.SHA256 != nil && *it.SHA256 != *sum {
		return it, mismatch(it, sha256Key(*sum), sha256Key(*it.SHA256))
	}
	if it.SHA256 == nil {
		it.May = nil // the source speaks of its own file, not of what has this digest
	}
	it.SHA256 = sum
	return it, nil
}

// only returns the one item that a reference stands for.
func (e *Engine) only(ctx context.Context, ref connectors.Ref, acc connectors.Access) (one connectors.Item, err error) {
	n := 0
	for it, err := range e.resolve(ctx, ref, acc) {
		if err != nil {
			return it, err
		}
		if n++; n > 1 {
			return it, &connectors.FieldError{Field: "checksum", Problem: "needs a reference that stands for one file"}
		}
		one = it
	}
	if n == 0 {
		return one, &connectors.Error{Op: "resolve", Source: ref.String(), Err: fmt.Errorf("%w: no file", connectors.ErrNotFound)}
	}
	return one, nil
}

// sidecar reads the digest of the file called name from the file beside it.
func (e *Engine) sidecar(ctx context.Context, ref connectors.Ref, acc connectors.Access, name string) (*[sha256.Size]byte, error) {
	beside, err := ref.Sidecar()
	if err != nil {
		return nil, err
	}
	text, err := e.small(ctx, beside, acc)
	if ce, ok := errors.AsType[*connectors.Error](err); ok && errors.Is(err, connectors.ErrNotFound) {
		ce.Hint = "state the checksum itself, or none"
	}
	if err != nil {
		return nil, fmt.Errorf("sidecar: %w", err)
	}
	// The name that the origin has for it counts, not what the caller calls it.
	for _, of := range []string{name, nameBeside(beside)} {
		if sum := connectors.ParseSidecar(text, of); sum != nil {
			return sum, nil
		}
	}
	return nil, &connectors.Error{
		Op: "read", Source: beside.String(), Hint: `a sidecar has lines of "<64 hex digits>  <name>"`,
		Err: fmt.Errorf("%w: there is no sha256 of the file in it", connectors.ErrUpstream),
	}
}

// nameBeside returns the name of the file that a sidecar is beside of, as it is
// called where it comes from.
func nameBeside(beside connectors.Ref) string {
	name := beside.Value
	if len(beside.Filenames) > 0 {
		name = beside.Filenames[0]
	}
	if u, err := url.Parse(name); beside.Type == connectors.TypeURI && err == nil {
		name = u.Path
	}
	return strings.TrimSuffix(name, connectors.SidecarSuffix)
}

// small reads the whole content of the one item of a reference.
func (e *Engine) small(ctx context.Context, ref connectors.Ref, acc connectors.Access) (_ []byte, err error) {
	it, err := e.only(ctx, ref, acc)
	if err != nil {
		return nil, err
	}
	if it.Open == nil {
		return nil, fmt.Errorf("%w: it has no origin", connectors.ErrInvalid)
	}
	body, err := it.Open(ctx, 0, -1, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	text, err := io.ReadAll(io.LimitReader(body, connectors.MaxSidecar+1))
	if err != nil {
		return nil, err
	}
	if len(text) > connectors.MaxSidecar {
		return nil, &connectors.Error{Op: "read", Source: it.URL, Err: fmt.Errorf("%w: it is larger than %d bytes", connectors.ErrUpstream, connectors.MaxSidecar)}
	}
	return text, nil
}
