package connectors

import (
	"fmt"
	"net/url"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/internal/safename"
)

// normalise checks a reference and brings it into its one form.
func normalise(ref Ref) (Ref, error) {
	var err error
	switch ref.Type {
	case TypeURI:
		ref, err = normaliseURI(ref)
	case TypeHuggingFace:
		err = checkHub(&ref)
	case TypeCIDs:
		err = checkCIDs(ref.Values)
	case TypePeers, TypeScheduler:
		err = checkPeers(ref)
	case TypeS3:
		ref, err = normaliseS3(ref)
	case TypeFile:
		err = checkFile(&ref)
	}
	if err == nil {
		err = checkCommon(&ref)
	}
	if err != nil {
		return Ref{}, err
	}
	return ref, nil
}

// normaliseURI checks the URL of a reference. A reference of type uri may hold
// a URI of another connector: it becomes a reference of that type.
func normaliseURI(ref Ref) (Ref, error) {
	if ref.Value == "" {
		return Ref{}, &FieldError{Field: "value", Problem: "is missing"}
	}
	scheme, _, ok := strings.Cut(ref.Value, "://")
	if !ok {
		return Ref{}, &FieldError{Field: "value", Problem: "is no absolute URL"}
	}
	switch strings.ToLower(scheme) {
	case "http", "https":
		return ref, checkURL(ref.Value)
	case "file":
		return Ref{}, &FieldError{Field: "value", Problem: "has a scheme that is not allowed: file; the operator's own files have the type file"}
	}
	other, err := ParseURI(ref.Value)
	if err != nil {
		return Ref{}, err
	}
	other.Token, other.Checksum, other.Filename = ref.Token, ref.Checksum, ref.Filename
	return other, nil
}

// checkFile makes an absolute path of a file reference, which may be a URI.
func checkFile(ref *Ref) error {
	name := ref.Value
	if scheme, rest, ok := strings.Cut(name, "://"); ok && strings.EqualFold(scheme, "file") {
		host, below, _ := strings.Cut(rest, "/")
		if host != "" && !strings.EqualFold(host, "localhost") {
			return &FieldError{Field: "value", Problem: "names a host: a file has three slashes, file:///path"}
		}
		var err error
		if name, err = url.PathUnescape("/" + below); err != nil {
			return &FieldError{Field: "value", Problem: "holds a bad percent escape"}
		}
	}
	switch {
	case len(name) > maxURI || !printable(name):
		return &FieldError{Field: "value", Problem: "is too long or not printable"}
	case !strings.HasPrefix(name, "/"):
		return &FieldError{Field: "value", Problem: "is no absolute path"}
	case ref.Token != "":
		return &FieldError{Field: "token", Problem: "is not for files"}
	}
	ref.Value = path.Clean(name)
	return nil
}

// checkHub checks a Hub reference and normalises its repository type.
func checkHub(ref *Ref) error {
	if problem := repoProblem(ref.Repository); problem != "" {
		return &FieldError{Field: "repository", Problem: problem}
	}
	switch squash(ref.RepoType) {
	case "", "model", "models":
		ref.RepoType = RepoModel
	case "dataset", "datasets":
		ref.RepoType = RepoDataset
	case "space", "spaces":
		ref.RepoType = RepoSpace
	default:
		return &FieldError{Field: "repo_type", Problem: "is none of model, dataset, space"}
	}
	if problem := revisionProblem(ref.Revision); problem != "" {
		return &FieldError{Field: "revision", Problem: problem}
	}
	if ref.HasFilenames {
		if len(ref.Filenames) == 0 {
			return &FieldError{Field: "filenames", Problem: "is empty"}
		}
		if len(ref.Allow)+len(ref.Ignore) > 0 {
			return &FieldError{Field: "allow_patterns", Problem: "and filenames exclude each other"}
		}
	}
	for i, name := range ref.Filenames {
		if err := safename.Path(name); err != nil {
			return &FieldError{Field: fmt.Sprintf("filenames[%d]", i), Problem: "is refused: " + err.Error()}
		}
	}
	if err := checkPatterns("allow_patterns", ref.Allow); err != nil {
		return err
	}
	return checkPatterns("ignore_patterns", ref.Ignore)
}

// checkPatterns checks what can be wrong with a pattern; every text is one.
func checkPatterns(field string, list []string) error {
	for i, p := range list {
		// 4096 bytes: no path of a repository is longer.
		if p == "" || len(p) > 4096 || !printable(p) {
			return &FieldError{Field: fmt.Sprintf("%s[%d]", field, i), Problem: "is empty, too long or not printable"}
		}
	}
	return nil
}

// repoProblem returns what is wrong with a repository id by the Hub's rules
// (huggingface_hub, validate_repo_id), or "".
func repoProblem(id string) string {
	if id == "" {
		return "is missing"
	}
	parts := strings.Split(id, "/")
	if len(parts) > 2 {
		return "is not owner/name"
	}
	if strings.Contains(id, "--") || strings.Contains(id, "..") {
		return "holds -- or .."
	}
	for _, part := range parts {
		if part == "" || len(part) > 96 {
			return "has a part that is empty or longer than 96 characters"
		}
		for _, c := range []byte(part) {
			if !isAlnum(c) && c != '-' && c != '_' && c != '.' {
				return "holds a character other than letters, digits, -, _ and ."
			}
		}
		if strings.ContainsAny(part[:1]+part[len(part)-1:], "-.") {
			return "has a part that begins or ends with - or ."
		}
	}
	if strings.HasSuffix(id, ".git") || strings.HasSuffix(id, ".ipynb") {
		return "ends in .git or .ipynb"
	}
	return ""
}

// revisionProblem returns why s can't be the name of a git revision, or "".
func revisionProblem(s string) string {
	switch {
	case s == "":
		return ""
	case len(s) > 255:
		return "is longer than 255 bytes"
	case !printable(s) || strings.ContainsAny(s, " ~^:?*[\\"):
		return "holds a character that git allows in no name"
	case strings.Contains(s, "..") || strings.Contains(s, "//") || strings.Contains(s, "@{"):
		return "holds a sequence that git allows in no name"
	case strings.HasPrefix(s, "/") || strings.HasSuffix(s, "/") || strings.HasPrefix(s, "-"):
		return "begins or ends with a character that git does not allow there"
	}
	return ""
}

// checkCIDs checks "cid[/path]" values.
func checkCIDs(values []string) error {
	if len(values) == 0 {
		return &FieldError{Field: "values", Problem: "is missing or empty"}
	}
	for i, v := range values {
		field := fmt.Sprintf("values[%d]", i)
		text, path, hasPath := strings.Cut(v, "/")
		if len(text) > 1024 {
			return &FieldError{Field: field, Problem: "is no CID"}
		}
		if _, err := cid.Decode(text); err != nil {
			return &FieldError{Field: field, Problem: "is no CID"}
		}
		if hasPath {
			if err := safename.Path(path); err != nil {
				return &FieldError{Field: field, Problem: "is refused: " + err.Error()}
			}
		}
	}
	return nil
}

// checkPeers checks that a scheduler or peers reference is complete. Peer ids
// are left to those who dial them.
func checkPeers(ref Ref) error {
	for i, p := range ref.Peers {
		if p == "" || len(p) > 512 || !printable(p) {
			return &FieldError{Field: fmt.Sprintf("peers[%d]", i), Problem: "is no peer id"}
		}
	}
	if ref.Type == TypeScheduler {
		switch {
		case len(ref.Peers) != 1:
			return &FieldError{Field: "peer", Problem: "is missing"}
		case ref.Dataset == "":
			return &FieldError{Field: "dataset", Problem: "is missing"}
		}
		return nil
	}
	switch ref.Strategy {
	case "", "all", "one", "random":
		return nil
	}
	return &FieldError{Field: "strategy", Problem: "is none of All, One, Random"}
}

// checkCommon checks what any reference may carry.
func checkCommon(ref *Ref) error {
	if ref.Filename != "" {
		if err := safename.Path(ref.Filename); err != nil {
			return &FieldError{Field: "filename", Problem: "is refused: " + err.Error()}
		}
	}
	if len(ref.Token) > 8192 || !isHeaderValue(ref.Token.Reveal()) {
		return &FieldError{Field: "token", Problem: "is too long or holds a control character"}
	}
	if err := checkHeaders(ref.Headers); err != nil {
		return err
	}
	if err := checkS3Common(*ref); err != nil {
		return err
	}
	if ref.Checksum != "" {
		ref.Checksum = strings.ToLower(ref.Checksum)
		if ref.SHA256() == nil && ref.Checksum != ChecksumSidecar {
			return &FieldError{Field: "checksum", Problem: `is neither "sha256:" and 64 hex digits nor "sidecar"`}
		}
	}
	return nil
}

// printable tells whether s is UTF-8 without control characters.
func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// isAlnum tells whether c is an ASCII letter or digit.
func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// limit cuts and cleans outside text for use in an error.
func limit(s string) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) > 64 {
		s = strings.ToValidUTF8(s[:64], "") + "…"
	}
	return strings.Map(func(c rune) rune {
		if unicode.IsControl(c) {
			return '?'
		}
		return c
	}, s)
}
