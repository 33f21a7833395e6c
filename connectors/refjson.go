package connectors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// MaxNames bounds the lists of one reference (files, patterns, CIDs, peers).
const MaxNames = 100_000

// UnmarshalJSON takes a reference object in any of its spellings, or a string,
// which is a URI. Tags are compared in lower case and without separators, so
// that "HuggingFace", "huggingface" and "hugging_face" are one type. A null
// field is an absent one, unknown fields are ignored. The error is a
// *FieldError (ErrInvalid).
func (r *Ref) UnmarshalJSON(b []byte) error {
	b = bytes.TrimSpace(b)
	if len(b) > 0 && b[0] == '"' {
		var uri string
		if err := json.Unmarshal(b, &uri); err != nil {
			return &FieldError{Problem: "is no JSON string"}
		}
		ref, err := ParseURI(uri)
		if err != nil {
			return err
		}
		*r = ref
		return nil
	}
	if len(b) == 0 || b[0] != '{' {
		return &FieldError{Problem: "is neither an object nor a string"}
	}
	d := decoder{fields: map[string]json.RawMessage{}}
	if err := json.Unmarshal(b, &d.fields); err != nil {
		return &FieldError{Problem: "is no JSON object"}
	}
	ref, err := d.ref()
	if err != nil {
		return err
	}
	*r = ref
	return nil
}

// typeOf returns the type that a tag stands for, "" for an unknown one.
func typeOf(tag string) string {
	switch squash(tag) {
	case "uri", "url", "http", "https":
		return TypeURI
	case "huggingface", "hf":
		return TypeHuggingFace
	case "cids", "cid", "ipfs":
		return TypeCIDs
	case "peers", "peer":
		return TypePeers
	case "scheduler":
		return TypeScheduler
	case "s3":
		return TypeS3
	case "file":
		return TypeFile
	}
	return ""
}

// squash returns a tag in lower case without anything but letters and digits.
func squash(tag string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			return c
		case c >= 'A' && c <= 'Z':
			return c + ('a' - 'A')
		}
		return -1
	}, tag)
}

// decoder reads the fields of one object; the first error stays.
type decoder struct {
	fields map[string]json.RawMessage
	err    error
}

// ref returns the reference that the fields make.
func (d *decoder) ref() (Ref, error) {
	tag := d.text("type")
	if d.err != nil {
		return Ref{}, d.err
	}
	if tag == "" {
		return Ref{}, &FieldError{Field: "type", Problem: "is missing"}
	}
	ref := Ref{Type: typeOf(tag), Index: -1}
	ref.Token = Secret(d.text("token"))
	ref.Checksum = d.text("checksum")
	ref.Filename = d.text("filename")
	switch ref.Type {
	case TypeURI:
		ref.Value = d.text("value", "uri", "url")
		ref.Headers = d.headers("headers")
	case TypeHuggingFace:
		d.hub(&ref)
	case TypeCIDs:
		ref.Values = d.list("values", "cids", "value", "cid")
	case TypePeers:
		d.peers(&ref)
	case TypeScheduler:
		ref.Peers = d.list("peer")
		ref.Dataset = d.text("dataset")
	case TypeS3:
		d.s3(&ref)
	case TypeFile:
		ref.Value = d.text("value", "uri", "url", "path")
	default:
		return Ref{}, &FieldError{Field: "type", Problem: fmt.Sprintf("is %q, which is no known one", limit(tag))}
	}
	if d.err != nil {
		return Ref{}, d.err
	}
	return normalise(ref)
}

// hub reads the fields of a Hub reference.
func (d *decoder) hub(ref *Ref) {
	ref.Repository = d.text("repository", "repo_id")
	ref.Revision = d.text("revision")
	ref.RepoType = d.text("repo_type")
	ref.HasFilenames = d.has("filenames")
	ref.Filenames = d.list("filenames")
	ref.Allow = d.list("allow_patterns")
	ref.Ignore = d.list("ignore_patterns")
}

// s3 reads the fields of an S3 reference.
func (d *decoder) s3(ref *Ref) {
	ref.Value = d.text("value", "uri", "url")
	ref.Endpoint, ref.Region = d.text("endpoint"), d.text("region")
	ref.Bucket, ref.Key, ref.Version = d.text("bucket"), d.text("key"), d.text("version_id")
	ref.Prefix, ref.HasPrefix = d.text("prefix"), d.has("prefix")
	ref.Allow = d.list("allow_patterns")
	ref.Ignore = d.list("ignore_patterns")
}

// peers reads the fields of a peers reference. The strategy is a string or an
// object with a type.
func (d *decoder) peers(ref *Ref) {
	ref.Peers = d.list("peers")
	ref.Strategy = squash(d.tag("strategy"))
	sub := d.object("resource")
	ref.Dataset = sub.text("dataset")
	if raw, _ := sub.take("index"); raw != nil {
		if err := json.Unmarshal(raw, &ref.Index); err != nil || ref.Index < 0 {
			sub.fail("index", "is no whole number from 0 on")
		}
	}
	d.adopt(sub, "resource")
}

// tag reads a string, or the "type" of an object.
func (d *decoder) tag(name string) string {
	raw, _ := d.take(name)
	if len(raw) == 0 || raw[0] != '{' {
		return d.text(name)
	}
	sub := d.object(name)
	text := sub.text("type")
	d.adopt(sub, name)
	return text
}

// object returns a decoder for an object inside this one; an absent one has no fields.
func (d *decoder) object(name string) *decoder {
	sub := &decoder{fields: map[string]json.RawMessage{}}
	raw, _ := d.take(name)
	if raw == nil {
		return sub
	}
	if raw[0] != '{' || json.Unmarshal(raw, &sub.fields) != nil {
		d.fail(name, "is no object")
	}
	return sub
}

// adopt takes over the error of an inner object, with the path to it.
func (d *decoder) adopt(sub *decoder, name string) {
	if fe, ok := errors.AsType[*FieldError](sub.err); ok {
		d.fail(name+"."+fe.Field, fe.Problem)
	}
}

// take returns the first field of those names that is there and not null.
func (d *decoder) take(names ...string) (json.RawMessage, string) {
	for _, name := range names {
		if raw, ok := d.fields[name]; ok && string(raw) != "null" {
			return raw, name
		}
	}
	return nil, ""
}

// has tells whether a field is there and not null.
func (d *decoder) has(name string) bool {
	raw, _ := d.take(name)
	return raw != nil
}

// text reads a string.
func (d *decoder) text(names ...string) string {
	raw, name := d.take(names...)
	if raw == nil {
		return ""
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		d.fail(name, "is no string")
	}
	return s
}

// list reads a list of strings; a bare string is a list of one.
func (d *decoder) list(names ...string) []string {
	raw, name := d.take(names...)
	switch {
	case raw == nil:
		return nil
	case raw[0] == '"':
		return []string{d.text(name)}
	}
	var list []*string
	if raw[0] != '[' || json.Unmarshal(raw, &list) != nil {
		d.fail(name, "is no list of strings")
		return nil
	}
	if len(list) > MaxNames {
		d.fail(name, fmt.Sprintf("has more than %d elements", MaxNames))
		return nil
	}
	out := make([]string, len(list))
	for i, s := range list {
		if s == nil {
			d.fail(fmt.Sprintf("%s[%d]", name, i), "is null")
			return nil
		}
		out[i] = *s
	}
	return out
}

// headers reads an object of strings.
func (d *decoder) headers(name string) map[string]Secret {
	raw, _ := d.take(name)
	if raw == nil {
		return nil
	}
	var plain map[string]string
	if err := json.Unmarshal(raw, &plain); err != nil {
		d.fail(name, "is no object of strings")
		return nil
	}
	out := make(map[string]Secret, len(plain))
	for k, v := range plain {
		out[k] = Secret(v)
	}
	return out
}

// fail keeps the first error.
func (d *decoder) fail(field, problem string) {
	if d.err == nil {
		d.err = &FieldError{Field: field, Problem: problem}
	}
}
