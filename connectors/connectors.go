package connectors

import (
	"context"
	"crypto/sha1" //nolint:gosec // git's object hash, checked beside the sha256
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
)

// Errors of this package; errors.Is finds them in an Error.
var (
	ErrUnsupported  = errors.New("unsupported reference")   // no connector takes it: 422
	ErrInvalid      = errors.New("invalid reference")       // malformed, says which field: 400
	ErrForbidden    = errors.New("refused address")         // a job may not make the node talk to it: 403
	ErrNotFound     = errors.New("not found")               // repository, revision, file, CID: 404
	ErrUnauthorized = errors.New("no access")               // gated, private, bad token: 403
	ErrUpstream     = errors.New("origin failed")           // after all retries: 502
	ErrMismatch     = errors.New("checksum does not match") // 422; nothing was recorded
	ErrPointer      = errors.New("pointer of git LFS")      // instead of the file: 422; nothing was recorded
)

// Error is a failure of an origin, with what a client needs to act on it.
type Error struct {
	Op         string        // "resolve", "open", "read"
	Source     string        // URL or repository, without credentials
	Status     int           // HTTP status, 0 if there was none
	RetryAfter time.Duration // 0 if the origin did not say
	Hint       string        // the next step for the user, or ""
	Err        error         // one of the sentinels above, wrapped with the detail
}

// Error returns "op source: detail (HTTP status)".
func (e *Error) Error() string {
	if e.Status != 0 {
		return fmt.Sprintf("%s %s: %v (HTTP %d)", e.Op, e.Source, e.Err, e.Status)
	}
	return fmt.Sprintf("%s %s: %v", e.Op, e.Source, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Connector turns a reference into items. It is safe for concurrent use.
type Connector interface {
	// Supports tells, without I/O, whether the connector takes the reference.
	Supports(ref Ref) bool
	// Items yields the files that the reference stands for: names, sizes and
	// identities, no content, in the order of the request (or the listing).
	// It stops at the first error. acc says on whose behalf.
	Items(ctx context.Context, ref Ref, acc Access) iter.Seq2[Item, error]
}

// Access says on whose behalf a connector acts.
type Access struct {
	// Operator is true for the CLI's own commands: no address is refused.
	// Jobs act with false: private addresses are refused at dial time.
	Operator bool
	// Scope is that of the job, "" for none: what is private to it can be named by
	// its CID. The operator sees everything.
	Scope string
}

// Item is one named file that a reference stands for, before its bytes are here.
type Item struct {
	Path   string // slash-separated, relative, checked by safename
	Size   int64  // bytes; -1 when the source does not say
	Source string // "huggingface", "http", "cid": answers' metadata.source
	URL    string // where it comes from, for people and logs; no credentials

	Local bool // the bytes come over no network

	// What the source says of the content, strongest first; zero if unknown.
	Root    cid.Cid            // the file's root: the bytes come as blocks
	SHA256  *[sha256.Size]byte // HF LFS oid, caller's checksum, Repr-Digest
	GitSHA1 *[sha1.Size]byte   // of "blob <len>\0" + content

	// Key is the alias key of an immutable identity, "hf:<type>/<repo>@<commit>/<path>"
	// or "url:<url>"; "" if there is none. Pinned means that Key names these
	// very bytes for ever, so that a known Key costs no request at all.
	Key    string
	Pinned bool

	Revision string // resolved commit, for answers' metadata; "" if none
	ETag     string // as published, for answers' metadata; "" if none

	// Scope is "" for content that anybody may have. Else it identifies, without
	// telling it, the credential that the content is fetched with: such content
	// is neither announced nor given to those who don't hold the credential. With
	// a Root it is the scope in which that was named and found to be private.
	Scope string

	// Open reads n bytes from offset off, or to the end when n < 0. It may be
	// called again and concurrently; the caller closes the body. cond, when not
	// empty, is the Meta of an earlier Body. At offset 0 it is that of what the
	// store has: the origin may answer ErrNotModified. Behind it, it is that of
	// the content which the bytes before off belong to: ErrChanged if the origin
	// has another by now, or can't tell and the item names no digest. Nil when
	// Root is set.
	Open func(ctx context.Context, off, n int64, cond []byte) (*Body, error)

	// Look asks the source, without content, for what of the item is known only when it
	// is opened: its size, its digest. Nil where that tells nothing more.
	Look func(ctx context.Context) (Item, error)

	// Direct is Open by the source's own way alone, where there are several that Open
	// may choose from: when what those brought was wrong. Nil where there is one.
	Direct func(ctx context.Context, off, n int64, cond []byte) (*Body, error)

	// May asks the source, with few requests and without content, whether those on
	// whose behalf the item was made may have its content: nil if so. Nil where a
	// source can't tell.
	May func(ctx context.Context) error

	// SharedKey is the alias key under which content of this name, that came with any
	// credential, is known; "" if there is none. Same asks the source, with one request
	// and without content, whether it gives those on whose behalf the item was made the
	// very content that meta, the Meta of its Body, is of: ErrChanged if it is another.
	SharedKey string
	Same      func(ctx context.Context, meta []byte) error

	// Large returns where the source has the large file, of which it gives a
	// pointer of git LFS in this item's place; ok is false if it has none. Nil where
	// no place is known.
	Large func() (it Item, ok bool)
}

// ErrNotModified answers a conditional Open: what the alias stands for is current.
var ErrNotModified = errors.New("not modified")

// ErrChanged answers an Open that goes on with a content which is no longer there.
var ErrChanged = errors.New("content has changed at its origin")

// Body is an open range of an item's content, with what the origin said when it
// was opened.
type Body struct {
	io.ReadCloser
	Size   int64              // bytes of the whole content; -1 if unknown
	ETag   string             // as sent, "" if none
	SHA256 *[sha256.Size]byte // from Repr-Digest or alike; nil if not sent
	Meta   []byte             // validator to keep beside the alias, for cond; nil if none

	// What the source has told only now: an immutable identity, as the Key of an item
	// that is pinned, and the version; "" if none.
	Key      string
	Revision string

	// Shared says that the Meta names the content alone, whoever asks for it: it may be
	// kept under Item.SharedKey.
	Shared bool

	// Late returns the sha256 of the whole content that the origin sent behind its
	// end, nil if it sent none. It may be called when Read has returned io.EOF. Nil:
	// there can't be one.
	Late func() *[sha256.Size]byte

	// Via returns how many of the bytes that were read each transport has brought,
	// by its name ("http", "xet"). It may be called at any time. Nil: not told.
	Via func() map[string]int64

	// Unparted says that the origin sends all of the content though a range was asked
	// for: what is not in it is thrown away as it comes.
	Unparted bool

	// Unframed says that the origin marked no end of the content (an HTTP body
	// that ends when the connection does): a cut is invisible, and only a
	// digest can tell that the content is whole.
	Unframed bool
}

// Transport names what has brought the bytes so far: "http", "xet", "http+xet"; ""
// if that is not told, or there are none.
func (b *Body) Transport() string {
	if b.Via == nil {
		return ""
	}
	return strings.Join(slices.Sorted(maps.Keys(b.Via())), "+")
}

// Set is an ordered list of connectors.
type Set []Connector

// For returns the first connector that takes the reference, or ErrUnsupported.
func (s Set) For(ref Ref) (Connector, error) {
	for _, c := range s {
		if c.Supports(ref) {
			return c, nil
		}
	}
	return nil, unserved(ref)
}

// unserved says why no connector takes a reference.
func unserved(ref Ref) error {
	if ref.Dataset == "" {
		return fmt.Errorf("reference of type %q: %w", ref.Type, ErrUnsupported)
	}
	return &Error{
		Op: "resolve", Source: ref.String(), Hint: "name the slice's file: by its CID (type cids), URL or repository",
		Err: fmt.Errorf("%w: slices of data sets are given by the nodes of the original Hypha, whose network this node can't join", ErrUnsupported),
	}
}
