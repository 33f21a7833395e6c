package connectors

import (
	"strings"
)

// maxKey is the longest key of an object, in bytes: the limit of S3 itself.
const maxKey = 1024

// normaliseS3 takes apart Value, if there is one, and checks what it is made of.
func normaliseS3(ref Ref) (Ref, error) {
	if ref.Value != "" {
		if err := cutS3(&ref); err != nil {
			return Ref{}, err
		}
	}
	switch {
	case ref.Endpoint != "" && !IsAlias(ref.Endpoint):
		return Ref{}, &FieldError{Field: "endpoint", Problem: "is no alias of an endpoint; addresses are in the node's configuration"}
	case !IsBucket(ref.Bucket):
		return Ref{}, &FieldError{Field: "bucket", Problem: "is no bucket name"}
	case ref.Region != "" && !IsRegion(ref.Region):
		return Ref{}, &FieldError{Field: "region", Problem: "is no name of a region"}
	case ref.Key != "" && ref.HasPrefix:
		return Ref{}, &FieldError{Field: "prefix", Problem: "and key exclude each other"}
	case ref.Key == "" && !ref.HasPrefix:
		return Ref{}, &FieldError{Field: "key", Problem: "is missing; a prefix ends in a slash"}
	case ref.HasPrefix && ref.Version != "":
		return Ref{}, &FieldError{Field: "version_id", Problem: "is for one key"}
	case !ref.HasPrefix && len(ref.Allow)+len(ref.Ignore) > 0:
		return Ref{}, &FieldError{Field: "allow_patterns", Problem: "and ignore_patterns are for a prefix"}
	case len(ref.Version) > maxKey || !printable(ref.Version):
		return Ref{}, &FieldError{Field: "version_id", Problem: "is too long or not printable"}
	}
	if problem := keyProblem(ref.Key); problem != "" {
		return Ref{}, &FieldError{Field: "key", Problem: problem}
	}
	if problem := keyProblem(ref.Prefix); problem != "" {
		return Ref{}, &FieldError{Field: "prefix", Problem: problem}
	}
	if err := checkPatterns("allow_patterns", ref.Allow); err != nil {
		return Ref{}, err
	}
	if err := checkPatterns("ignore_patterns", ref.Ignore); err != nil {
		return Ref{}, err
	}
	ref.Value = ref.s3String()
	return ref, nil
}

// ObjectRef returns the reference of one object; endpoint is an alias or "".
func ObjectRef(endpoint, bucket, key string) (Ref, error) {
	return normalise(Ref{Type: TypeS3, Endpoint: endpoint, Bucket: bucket, Key: key, Index: -1})
}

// cutS3 takes "s3://[endpoint@]bucket/rest" apart. The rest is a key as it is,
// a prefix if it ends in a slash, a pattern if it has a star.
func cutS3(ref *Ref) error {
	scheme, rest, _ := strings.Cut(ref.Value, "://")
	if !strings.EqualFold(scheme, "s3") {
		return &FieldError{Field: "value", Problem: "does not begin with s3://"}
	}
	place, rest, hasRest := strings.Cut(rest, "/")
	if alias, bucket, ok := strings.Cut(place, "@"); ok {
		if !IsAlias(alias) {
			return &FieldError{Field: "endpoint", Problem: "is no alias of an endpoint"}
		}
		ref.Endpoint, place = alias, bucket
	}
	ref.Bucket, ref.Key, ref.Prefix, ref.HasPrefix = place, "", "", false
	star := strings.IndexByte(rest, '*')
	switch {
	case star >= 0:
		if len(ref.Allow) > 0 {
			return &FieldError{Field: "allow_patterns", Problem: "and a pattern in value exclude each other"}
		}
		ref.Prefix, ref.HasPrefix = rest[:star], true
		ref.Allow = []string{rest[strings.LastIndexByte(ref.Prefix, '/')+1:]}
	case hasRest && (rest == "" || strings.HasSuffix(rest, "/")):
		ref.Prefix, ref.HasPrefix = rest, true
	default:
		ref.Key = rest
	}
	return nil
}

// keyProblem returns why a node asks for no such key or prefix, or "". Servers
// and proxies resolve . and .. in a path, and would serve another bucket.
func keyProblem(key string) string {
	if len(key) > maxKey || !printable(key) {
		return "is too long or not printable"
	}
	for segment := range strings.SplitSeq(key, "/") {
		if segment == "." || segment == ".." {
			return "has a segment . or .."
		}
	}
	return ""
}

// checkS3Common checks what an S3 reference may not carry of what others may.
func checkS3Common(ref Ref) error {
	switch {
	case ref.Type != TypeS3:
		return nil
	case ref.Token != "":
		return &FieldError{Field: "token", Problem: "is not for s3: credentials are in the node's configuration"}
	case ref.HasPrefix && ref.Filename != "":
		return &FieldError{Field: "filename", Problem: "is for one key"}
	case ref.HasPrefix && ref.Checksum != "":
		return &FieldError{Field: "checksum", Problem: "is for one key"}
	}
	return nil
}

// IsBucket tells whether s is a bucket name by the rules of S3.
func IsBucket(s string) bool {
	if len(s) < 3 || len(s) > 63 || strings.Contains(s, "..") {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return isAlnum(s[0]) && isAlnum(s[len(s)-1])
}

// IsAlias tells whether s can be the alias of an endpoint: at most 63 lower-case
// letters, digits, - and _.
func IsAlias(s string) bool { return len(s) <= 63 && lowerName(s, "-_") }

// IsRegion tells whether s can be the name of a region: it becomes part of a
// host name.
func IsRegion(s string) bool {
	return len(s) <= 63 && lowerName(s, "-") && isAlnum(s[len(s)-1])
}

// lowerName tells whether s is made of lower-case letters, digits and the
// others, which it does not begin with.
func lowerName(s, others string) bool {
	if s == "" || !isAlnum(s[0]) {
		return false
	}
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && strings.IndexByte(others, c) < 0 {
			return false
		}
	}
	return true
}
