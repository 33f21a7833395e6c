package connectors

import (
	"crypto/sha256"
	"encoding/hex"
	"net/url"
	"path"
	"strings"
)

// ChecksumSidecar as Ref.Checksum says that the digest is in a file beside the one
// that the reference stands for, whose name has SidecarSuffix added: as sha256sum
// writes it.
const (
	ChecksumSidecar = "sidecar"
	SidecarSuffix   = ".sha256"
)

// MaxSidecar is the most that a sidecar may have: bytes. Some list a release's files.
const MaxSidecar = 1 << 20

// Sidecar returns the reference to the sidecar of the one file that r stands for,
// with r's credentials. The error is a *FieldError.
func (r Ref) Sidecar() (Ref, error) {
	s := r.Clone()
	s.Checksum, s.Filename = "", ""
	refuse := func(why string) (Ref, error) { return Ref{}, &FieldError{Field: "checksum", Problem: why} }
	switch r.Type {
	case TypeURI:
		u, err := url.Parse(r.Value)
		if err != nil {
			return refuse("is beside what is no URL")
		}
		u.Path += SidecarSuffix
		if u.RawPath != "" {
			u.RawPath += SidecarSuffix
		}
		s.Value = u.String()
	case TypeFile:
		s.Value = r.Value + SidecarSuffix
	case TypeS3:
		if r.Key == "" || r.Version != "" {
			return refuse("from a sidecar is for one key, without a version")
		}
		s.Key, s.Value = r.Key+SidecarSuffix, ""
	case TypeHuggingFace:
		if len(r.Filenames) != 1 {
			return refuse("from a sidecar is for one file")
		}
		s.Filenames = []string{r.Filenames[0] + SidecarSuffix}
	default:
		return refuse("from a sidecar is not for references of this type")
	}
	return normalise(s)
}

// ParseSidecar finds the sha256 of the file called name in the text of a sidecar:
// that of the line "<64 hex digits>  name" (or *name; BSD's "SHA256 (name) = …"),
// or the only digest there is, if it stands alone. Nil if there is none.
func ParseSidecar(text []byte, name string) *[sha256.Size]byte {
	var found, alone *[sha256.Size]byte
	lines := 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		lines++
		digest, of := cutSidecar(line)
		sum := parseSum(digest)
		switch {
		case sum == nil:
		case of == "":
			alone = sum
		case path.Base(strings.ReplaceAll(of, `\`, "/")) == path.Base(name):
			if found != nil && *found != *sum {
				return nil // two that differ
			}
			found = sum
		}
	}
	if found == nil && lines == 1 {
		return alone
	}
	return found
}

// cutSidecar splits a line into a digest and a name.
func cutSidecar(line string) (digest, of string) {
	if rest, ok := strings.CutPrefix(line, "SHA256 ("); ok {
		if i := strings.LastIndex(rest, ") = "); i >= 0 {
			return rest[i+len(") = "):], rest[:i]
		}
	}
	digest, of, _ = strings.Cut(line, " ")
	return digest, strings.TrimPrefix(strings.TrimLeft(of, " \t"), "*")
}

// parseSum parses 64 hex digits; anything else is nil.
func parseSum(s string) *[sha256.Size]byte {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != sha256.Size {
		return nil
	}
	return (*[sha256.Size]byte)(b)
}
