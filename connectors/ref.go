package connectors

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// Types of references, as Ref.Type holds them.
const (
	TypeURI         = "uri"         // one http(s) URL
	TypeHuggingFace = "huggingface" // files of a repository of a hub
	TypeCIDs        = "cids"        // roots of DAGs
	TypePeers       = "peers"       // what peers send
	TypeScheduler   = "scheduler"   // the next slice of a dataset
	TypeS3          = "s3"          // objects of a bucket
	TypeFile        = "file"        // files of the node's own disk, for the operator
)

// Types of Hub repositories, as Ref.RepoType holds them.
const (
	RepoModel   = "model"
	RepoDataset = "dataset"
	RepoSpace   = "space"
)

// Ref is what a job asks for. Which fields mean something depends on Type; the
// zero value is no reference. ParseURI and UnmarshalJSON make valid ones.
type Ref struct {
	Type string // one of the Type constants

	Value string // TypeURI: the URL; TypeS3: "s3://[endpoint@]bucket/key"; TypeFile: an absolute path

	Repository   string   // "owner/name" or a bare "name"
	Revision     string   // branch, tag or commit, not quoted; "" is "main"
	RepoType     string   // one of the Repo constants
	Filenames    []string // files (or directories) of the repository, in the order asked for
	HasFilenames bool     // the reference names files; else Allow and Ignore choose from the listing
	Allow        []string // patterns of Python's fnmatchcase, on the whole path; none: all. TypeS3: on what follows the prefix' last slash
	Ignore       []string // patterns, applied after Allow

	Values []string // TypeCIDs: "cid" or "cid/path" each

	Endpoint  string // TypeS3: alias of the node's configuration; "" is "default"
	Bucket    string // TypeS3
	Key       string // TypeS3: of one object; "" if HasPrefix
	Prefix    string // TypeS3: of the keys of all objects that are asked for; "" is the whole bucket
	HasPrefix bool   // TypeS3: the reference names a prefix, not a key
	Region    string // TypeS3: of the bucket; "" if not given
	Version   string // TypeS3: version id of the object; "" is the current one

	Peers    []string // TypePeers: peer ids, not checked; TypeScheduler: the scheduler
	Strategy string   // TypePeers: "all", "one", "random"; "" if not given
	Dataset  string   // TypeScheduler, and a peers reference's resource; "" if none
	Index    int64    // slice of Dataset; -1 if none

	Token    Secret            // sent to the reference's own origin as a bearer token; "" if none
	Headers  map[string]Secret // TypeURI: sent to the URL's own origin
	Checksum string            // "sha256:<64 lower hex digits>", ChecksumSidecar, or ""
	Filename string            // TypeURI, TypeS3, TypeFile: name of the file instead of the URL's last segment
}

// FieldError says which field of a reference is wrong. It is an ErrInvalid.
type FieldError struct {
	Field   string // as the JSON spells it, "filenames[2]"; "" for the reference itself
	Problem string // lower case, without the field: "is empty"
}

// Error returns "invalid reference: field problem".
func (e *FieldError) Error() string {
	if e.Field == "" {
		return fmt.Sprintf("%v: %s", ErrInvalid, e.Problem)
	}
	return fmt.Sprintf("%v: %s %s", ErrInvalid, e.Field, e.Problem)
}

// Unwrap returns ErrInvalid.
func (e *FieldError) Unwrap() error { return ErrInvalid }

// SHA256 returns the digest that Checksum states, nil if it states none.
func (r Ref) SHA256() *[sha256.Size]byte {
	text, ok := strings.CutPrefix(r.Checksum, "sha256:")
	if !ok || len(text) != hex.EncodedLen(sha256.Size) {
		return nil
	}
	var sum [sha256.Size]byte
	if _, err := hex.Decode(sum[:], []byte(text)); err != nil {
		return nil
	}
	return &sum
}

// WithChecksum returns the reference with a checksum, in any spelling that
// UnmarshalJSON takes. The error is a *FieldError.
func (r Ref) WithChecksum(checksum string) (Ref, error) {
	r.Checksum = checksum
	err := checkCommon(&r)
	return r, err
}

// String returns the reference as a URI-like text for people and logs: no
// token, no header values, no user of a URL, no query values. It is not meant
// to be parsed.
func (r Ref) String() string {
	switch r.Type {
	case TypeURI:
		return RedactURL(r.Value)
	case TypeS3:
		return r.s3String()
	case TypeFile:
		return "file://" + r.Value
	case TypeHuggingFace:
		return r.hubString()
	case TypeCIDs:
		return "ipfs://" + shorten(r.Values)
	case TypePeers:
		return "peers:" + r.Strategy + ":" + shorten(r.Peers)
	case TypeScheduler:
		return "scheduler:" + shorten(r.Peers) + "/" + r.Dataset
	}
	return "reference of type " + fmt.Sprintf("%q", r.Type)
}

// hubString returns "hf://[datasets/]owner/name[@rev][/file]".
func (r Ref) hubString() string {
	var b strings.Builder
	b.WriteString("hf://")
	if r.RepoType == RepoDataset || r.RepoType == RepoSpace {
		b.WriteString(r.RepoType + "s/")
	}
	b.WriteString(r.Repository)
	if r.Revision != "" {
		b.WriteString("@" + r.Revision)
	}
	if names := slices.Concat(r.Filenames, r.Allow); len(names) > 0 {
		b.WriteString("/" + shorten(names))
	}
	return b.String()
}

// s3String returns "s3://[endpoint@]bucket/key", or the prefix with a star.
func (r Ref) s3String() string {
	var b strings.Builder
	b.WriteString("s3://")
	if r.Endpoint != "" {
		b.WriteString(r.Endpoint + "@")
	}
	b.WriteString(r.Bucket + "/" + r.Key + r.Prefix)
	if r.Prefix != "" && !strings.HasSuffix(r.Prefix, "/") {
		b.WriteString("*")
	}
	return b.String()
}

// shorten returns the only element, or the first and how many follow it.
func shorten(list []string) string {
	switch len(list) {
	case 0:
		return ""
	case 1:
		return list[0]
	}
	return fmt.Sprintf("%s (+%d)", list[0], len(list)-1)
}

// Format prints String for every verb, so that %+v and %#v show no secret.
func (r Ref) Format(f fmt.State, _ rune) {
	// A fmt.State is written to by fmt alone and reports errors by itself.
	_, _ = io.WriteString(f, r.String()) //nolint:errcheck // see above
}

// LogValue returns String.
func (r Ref) LogValue() slog.Value { return slog.StringValue(r.String()) }

// MarshalJSON returns String as a JSON string: what logs show. It is not the
// reference that UnmarshalJSON takes, which may hold secrets.
func (r Ref) MarshalJSON() ([]byte, error) { return json.Marshal(r.String()) }

// Clone returns a copy that shares no memory with r.
func (r Ref) Clone() Ref {
	r.Filenames, r.Allow, r.Ignore = slices.Clone(r.Filenames), slices.Clone(r.Allow), slices.Clone(r.Ignore)
	r.Values, r.Peers = slices.Clone(r.Values), slices.Clone(r.Peers)
	r.Headers = maps.Clone(r.Headers)
	return r
}

// RedactURL returns a URL without its user, its fragment and the values of its
// query, which may be a signature. What is no URL gives "[redacted]".
func RedactURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme == "" {
		return redacted
	}
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath, Opaque: u.Opaque}
	if u.RawQuery != "" {
		shown.RawQuery = "…"
	}
	return shown.String()
}
