package connectors

import (
	"net/url"
	"strings"
)

// maxURI bounds a URI: bytes. Signed URLs stay below 4 KiB.
const maxURI = 16 << 10

// ParseURI returns the reference that a URI stands for:
//
//	hf://owner/name[@rev][/path]       files of a model; also hf://name[@rev] for names without an owner
//	hf://datasets/owner/name…          of a dataset; hf://spaces/…, hf://models/…
//	http://…, https://…                one file
//	ipfs://cid[/path]                  a file or directory by content
//	s3://[endpoint@]bucket/key         an object; of an endpoint of the node's configuration
//	s3://[endpoint@]bucket/prefix/     the objects below a prefix; s3://bucket/ all of a bucket
//	s3://[endpoint@]bucket/a/*.bin     the objects that match
//	file:///path                       a file, or those below a directory, of the node's disk
//
// A path of hf:// that holds *, ? or [, or that ends in /, is a pattern; other
// paths name a file or a directory. Percent escapes are decoded; a revision
// with slashes is written with %2F, but refs/pr/N and refs/convert/X may stand
// as they are. A key of s3:// stands as it is, without escapes; with a star it is
// a pattern. The error is a *FieldError.
func ParseURI(s string) (Ref, error) {
	if len(s) > maxURI {
		return Ref{}, &FieldError{Field: "value", Problem: "is too long"}
	}
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return Ref{}, &FieldError{Field: "value", Problem: "is no URI: write hf://owner/name, https://…, ipfs://cid, s3://bucket/key or file:///path"}
	}
	switch strings.ToLower(scheme) {
	case "http", "https":
		return normalise(Ref{Type: TypeURI, Value: s, Index: -1})
	case "hf":
		return parseHub(rest)
	case "ipfs":
		return parseIPFS(rest)
	case "s3":
		return normalise(Ref{Type: TypeS3, Value: s, Index: -1})
	case "file":
		return normalise(Ref{Type: TypeFile, Value: s, Index: -1})
	}
	return Ref{}, &FieldError{Field: "value", Problem: "has a scheme that is not allowed: " + limit(scheme)}
}

// parseHub parses what follows hf://.
func parseHub(rest string) (Ref, error) {
	ref := Ref{Type: TypeHuggingFace, RepoType: RepoModel, Index: -1}
	kinds := map[string]string{"models/": RepoModel, "datasets/": RepoDataset, "spaces/": RepoSpace}
	for prefix, kind := range kinds {
		if after, ok := strings.CutPrefix(rest, prefix); ok {
			rest, ref.RepoType = after, kind
			break
		}
	}
	// The repository ends at the @, or after its second segment.
	first, after, _ := strings.Cut(rest, "/")
	second, path, _ := strings.Cut(after, "/")
	var rev string
	switch name, tail, hasRev := strings.Cut(rest, "@"); {
	case hasRev && strings.Count(name, "/") <= 1:
		ref.Repository = name
		if rev, path = cutRevision(tail); rev == "" {
			return Ref{}, &FieldError{Field: "revision", Problem: "is empty"}
		}
	case second == "":
		ref.Repository = first
	default:
		ref.Repository = first + "/" + second
	}
	if _, isKind := kinds[ref.Repository+"/"]; isKind {
		return Ref{}, &FieldError{Field: "repository", Problem: "is missing"}
	}
	var err error
	if ref.Revision, err = url.PathUnescape(rev); err != nil {
		return Ref{}, &FieldError{Field: "revision", Problem: "holds a bad percent escape"}
	}
	if path, err = url.PathUnescape(path); err != nil {
		return Ref{}, &FieldError{Field: "filenames[0]", Problem: "holds a bad percent escape"}
	}
	switch {
	case path == "":
	case strings.ContainsAny(path, "*?["), strings.HasSuffix(path, "/"):
		ref.Allow = []string{path}
	default:
		ref.Filenames, ref.HasFilenames = []string{path}, true
	}
	return normalise(ref)
}

// cutRevision splits "rev/path". The Hub's own refs have three segments.
func cutRevision(s string) (rev, path string) {
	if strings.HasPrefix(s, "refs/pr/") || strings.HasPrefix(s, "refs/convert/") {
		parts := strings.SplitN(s, "/", 4)
		if len(parts) == 4 {
			path = parts[3]
		}
		return strings.Join(parts[:3], "/"), path
	}
	rev, path, _ = strings.Cut(s, "/")
	return rev, path
}

// parseIPFS parses what follows ipfs://.
func parseIPFS(rest string) (Ref, error) {
	if strings.ContainsAny(rest, "?#") {
		return Ref{}, &FieldError{Field: "value", Problem: "has a query or a fragment"}
	}
	path, err := url.PathUnescape(strings.TrimSuffix(rest, "/"))
	if err != nil {
		return Ref{}, &FieldError{Field: "value", Problem: "holds a bad percent escape"}
	}
	return normalise(Ref{Type: TypeCIDs, Values: []string{path}, Index: -1})
}
