package connectors

import (
	"encoding/json"
	"errors"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hypha-node/hypha-node/internal/safename"
)

func TestParseURI(t *testing.T) {
	model := Ref{Type: TypeHuggingFace, RepoType: RepoModel, Index: -1}
	hub := func(change func(*Ref)) Ref { r := model; change(&r); return r }
	file := func(repo, rev, name string) Ref {
		return hub(func(r *Ref) {
			r.Repository, r.Revision, r.Filenames, r.HasFilenames = repo, rev, []string{name}, true
		})
	}
	tests := []struct {
		uri  string
		want Ref
	}{
		{"hf://a/b", hub(func(r *Ref) { r.Repository = "a/b" })},
		{"hf://a/b/", hub(func(r *Ref) { r.Repository = "a/b" })},
		{"HF://a/b", hub(func(r *Ref) { r.Repository = "a/b" })},
		{"hf://gpt2", hub(func(r *Ref) { r.Repository = "gpt2" })},
		{"hf://gpt2@main", hub(func(r *Ref) { r.Repository, r.Revision = "gpt2", "main" })},
		{"hf://gpt2@main/config.json", file("gpt2", "main", "config.json")},
		{"hf://a/b/config.json", file("a/b", "", "config.json")},
		{"hf://a/b/x/y z.json", file("a/b", "", "x/y z.json")},
		{"hf://a/b/x/y%20z%25.json", file("a/b", "", "x/y z%.json")},
		{"hf://a/b/mail@home.txt", file("a/b", "", "mail@home.txt")},
		{"hf://a/b@v1.0/x.json", file("a/b", "v1.0", "x.json")},
		{"hf://a/b@feature%2Fx/x.json", file("a/b", "feature/x", "x.json")},
		{"hf://a/b@refs/pr/1/x.json", file("a/b", "refs/pr/1", "x.json")},
		{"hf://a/b@refs/pr/1", hub(func(r *Ref) { r.Repository, r.Revision = "a/b", "refs/pr/1" })},
		{"hf://a/b@refs/convert/parquet/d/0.parquet", file("a/b", "refs/convert/parquet", "d/0.parquet")},
		{"hf://a/b/*.json", hub(func(r *Ref) { r.Repository, r.Allow = "a/b", []string{"*.json"} })},
		{"hf://a/b/onnx/", hub(func(r *Ref) { r.Repository, r.Allow = "a/b", []string{"onnx/"} })},
		{"hf://a/b@v1/[ab]?.bin", hub(func(r *Ref) { r.Repository, r.Revision, r.Allow = "a/b", "v1", []string{"[ab]?.bin"} })},
		{"hf://models/a/b", hub(func(r *Ref) { r.Repository = "a/b" })},
		{"hf://datasets/a/b", hub(func(r *Ref) { r.Repository, r.RepoType = "a/b", RepoDataset })},
		{"hf://datasets/squad", hub(func(r *Ref) { r.Repository, r.RepoType = "squad", RepoDataset })},
		{"hf://spaces/a/b@main", hub(func(r *Ref) { r.Repository, r.RepoType, r.Revision = "a/b", RepoSpace, "main" })},
		{"http://example.org", Ref{Type: TypeURI, Value: "http://example.org", Index: -1}},
		{"HTTPS://Example.org:8443/a?b#c", Ref{Type: TypeURI, Value: "HTTPS://Example.org:8443/a?b#c", Index: -1}},
		{"http://127.0.0.1:1/", Ref{Type: TypeURI, Value: "http://127.0.0.1:1/", Index: -1}},
		{"http://[::1]:80/", Ref{Type: TypeURI, Value: "http://[::1]:80/", Index: -1}},
		{"http://localhost/", Ref{Type: TypeURI, Value: "http://localhost/", Index: -1}},
		{"http://my_host.example.org./", Ref{Type: TypeURI, Value: "http://my_host.example.org./", Index: -1}},
		{"http://bücher.example/", Ref{Type: TypeURI, Value: "http://bücher.example/", Index: -1}},
		{"https://user:pass@example.org/a", Ref{Type: TypeURI, Value: "https://user:pass@example.org/a", Index: -1}},
		{"ipfs://" + hello, Ref{Type: TypeCIDs, Values: []string{hello}, Index: -1}},
		{"ipfs://" + hello + "/", Ref{Type: TypeCIDs, Values: []string{hello}, Index: -1}},
		{"ipfs://" + hello + "/a%20b/c", Ref{Type: TypeCIDs, Values: []string{hello + "/a b/c"}, Index: -1}},
		{"s3://lab@my-bucket//a%2F+b#c", Ref{Type: TypeS3, Value: "s3://lab@my-bucket//a%2F+b#c", Endpoint: "lab", Bucket: "my-bucket", Key: "/a%2F+b#c", Index: -1}},
		{"s3://my-bucket/", Ref{Type: TypeS3, Value: "s3://my-bucket/", Bucket: "my-bucket", HasPrefix: true, Index: -1}},
		{"s3://my-bucket/a/b/", Ref{Type: TypeS3, Value: "s3://my-bucket/a/b/", Bucket: "my-bucket", Prefix: "a/b/", HasPrefix: true, Index: -1}},
		{"s3://my-bucket/a/b-*.bin", Ref{Type: TypeS3, Value: "s3://my-bucket/a/b-*", Bucket: "my-bucket", Prefix: "a/b-", HasPrefix: true, Allow: []string{"b-*.bin"}, Index: -1}},
		{"s3://my-bucket/a/b?c", Ref{Type: TypeS3, Value: "s3://my-bucket/a/b?c", Bucket: "my-bucket", Key: "a/b?c", Index: -1}},
	}
	for _, tt := range tests {
		t.Run(tt.uri, func(t *testing.T) {
			got, err := ParseURI(tt.uri)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("reference differs (-want +got):\n%s", diff)
			}
			var twice Ref
			b, err := json.Marshal(tt.uri)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(b, &twice); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got, twice); diff != "" {
				t.Errorf("as a JSON string it differs (-uri +json):\n%s", diff)
			}
		})
	}
}

func TestParseURIRefuses(t *testing.T) {
	tests := []struct{ uri, field string }{
		{"", "value"},
		{"config.json", "value"},
		{"/etc/passwd", "value"},
		{"://x", "value"},
		{"file://host/a", "value"},
		{"file:///%zz", "value"},
		{"file:///a\x00b", "value"},
		{"ftp://example.org/a", "value"},
		{"gopher://127.0.0.1:6379/_x", "value"},
		{"unix:///run/docker.sock", "value"},
		{"javascript://x", "value"},
		{"http:example.org", "value"},
		{"http://", "value"},
		{"http:///a", "value"},
		{"http://:80/", "value"},
		{"http://?x", "value"},
		{"http://user@/", "value"},
		{"http://example.org:0/", "value"},
		{"http://example.org:65536/", "value"},
		{"http://example.org:http/", "value"},
		{"http://example.org:/", "value"},
		{"http://exa mple.org/", "value"},
		{"http://example.org/a b", "value"},
		{"http://example.org\\@evil.org/", "value"},
		{"http://example.org/\x00", "value"},
		{"http://example.org/\r\nHost: x", "value"},
		{"http://%31%32%37.0.0.1/", "value"},
		{"http://2130706433/", "value"},
		{"http://0x7f000001/", "value"},
		{"http://0x7f.0.0.1/", "value"},
		{"http://0177.0.0.1/", "value"},
		{"http://127.1/", "value"},
		{"http://1.2.3.4.5/", "value"},
		{"http://256.1.1.1/", "value"},
		{"http://example.0x1/", "value"},
		{"http://[::1/", "value"},
		{"http://[fe80::1%25eth0]/", "value"},
		{"http://[127.0.0.1]x/", "value"},
		{"http://a..b/", "value"},
		{"http://-a.org/", "value"},
		{"http://" + strings.Repeat("a", 64) + ".org/", "value"},
		{"http://" + strings.Repeat("a.", 130) + "org/", "value"},
		{"http://a,b.org/", "value"},
		{"http://a*b.org/", "value"},
		{"http://example.org/" + strings.Repeat("a", 17<<10), "value"},
		{"hf://", "repository"},
		{"hf:///", "repository"},
		{"hf:///a/b", "repository"},
		{"hf://a/b@", "revision"},
		{"hf://a/b@/x", "revision"},
		{"hf://a/b@a%zz/x", "revision"},
		{"hf://a/b@%2e%2e/x", "revision"},
		{"hf://a/b/%zz", "filenames[0]"},
		{"hf://a/b/../c", "filenames[0]"},
		{"hf://a/b/%2e%2e/c", "filenames[0]"},
		{"hf://a/b/x//y", "filenames[0]"},
		{"hf://a/b/x%00", "filenames[0]"},
		{"hf://datasets", "repository"},
		{"hf://datasets/", "repository"},
		{"hf://a b/c", "repository"},
		{"ipfs://", "values[0]"},
		{"ipfs://nothing", "values[0]"},
		{"ipfs://" + hello + "?x", "value"},
		{"ipfs://" + hello + "/..", "values[0]"},
		{"ipfs://" + hello + "/%zz", "value"},
		{"s3://", "bucket"},
		{"s3://bucket", "key"},
		{"s3://bucket/a/./b", "key"},
		{"s3://bucket/../b/", "prefix"},
		{"s3://UP@bucket/a", "endpoint"},
		{"s3://@bucket/a", "endpoint"},
		{"s3://a@b@bucket/a", "bucket"},
		{"s3://BUCKET/x", "bucket"},
		{"s3://bucket/a\x01", "key"},
	}
	for _, tt := range tests {
		t.Run(tt.uri[:min(40, len(tt.uri))], func(t *testing.T) {
			got, err := ParseURI(tt.uri)
			fe, ok := errors.AsType[*FieldError](err)
			if !ok || !errors.Is(err, ErrInvalid) {
				t.Fatalf("%q gives %#v, %v, want a FieldError", tt.uri, got, err)
			}
			if fe.Field != tt.field {
				t.Errorf("field is %q, want %q (%v)", fe.Field, tt.field, err)
			}
		})
	}
}

// checkRef fails when a reference that was accepted breaks a promise of this package.
func checkRef(t *testing.T, ref Ref) {
	t.Helper()
	switch ref.Type {
	case TypeURI:
		if err := checkURL(ref.Value); err != nil {
			t.Errorf("accepted a URL that is none: %v", err)
		}
	case TypeHuggingFace:
		if repoProblem(ref.Repository) != "" || revisionProblem(ref.Revision) != "" || ref.RepoType == "" {
			t.Errorf("accepted %q at %q of type %q", ref.Repository, ref.Revision, ref.RepoType)
		}
	case TypeS3:
		if !IsBucket(ref.Bucket) || ref.HasPrefix != (ref.Key == "") || keyProblem(ref.Key) != "" || keyProblem(ref.Prefix) != "" || ref.Token != "" ||
			ref.Endpoint != "" && !IsAlias(ref.Endpoint) || ref.Region != "" && !IsRegion(ref.Region) {
			t.Errorf("accepted %+v", ref)
		}
	case TypeFile:
		if !strings.HasPrefix(ref.Value, "/") || path.Clean(ref.Value) != ref.Value || strings.ContainsRune(ref.Value, 0) || ref.Token != "" {
			t.Errorf("accepted %+v", ref)
		}
	case TypeCIDs, TypePeers, TypeScheduler:
	default:
		t.Errorf("accepted the type %q", ref.Type)
	}
	for _, name := range ref.Filenames {
		if err := safename.Path(name); err != nil {
			t.Error(err)
		}
	}
	if ref.Filename != "" && safename.Path(ref.Filename) != nil {
		t.Errorf("accepted the name %q", ref.Filename)
	}
	if ref.Checksum != "" && ref.SHA256() == nil && ref.Checksum != ChecksumSidecar {
		t.Errorf("accepted the checksum %q", ref.Checksum)
	}
	if s := ref.Token.String(); s != "" && s != redacted {
		t.Errorf("the token is printed as %q", s)
	}
}

func FuzzParseURI(f *testing.F) {
	for _, seed := range []string{
		"hf://a/b", "hf://datasets/a/b@v1/x/*.json", "hf://gpt2@refs/pr/1/x", "https://u:p@example.org:8443/a?b#c",
		"http://[::1]/", "http://0x7f.1/", "ipfs://" + hello + "/a", "s3://bucket/key", "s3://a@bucket/b/*.c", "file:///x", "hf://a/b@%2f/%25",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := ParseURI(s)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%q: error is %v, want %v", s, err, ErrInvalid)
			}
			return
		}
		checkRef(t, ref)
	})
}

func FuzzUnmarshal(f *testing.F) {
	for _, seed := range []string{
		`"hf://a/b"`, `{"type":"HuggingFace","repository":"a/b","filenames":["x"],"token":"hf_secretsecret"}`,
		`{"type":"uri","value":"https://example.org","headers":{"A":"b"},"checksum":"sha256:` + sum + `"}`,
		`{"type":"peers","peers":["p"],"strategy":{"type":"All"},"resource":{"dataset":"d","index":0}}`,
		`{"type":"cids","values":["` + hello + `"]}`, `{"type":"s3","bucket":"abc","key":"k"}`, `{"type":"s3","bucket":"abc","prefix":"","region":"r"}`, `{"type":["x"]}`, `null`, `{"type":"peers","resource":{}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var ref Ref
		if err := ref.UnmarshalJSON(b); err != nil {
			if !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrUnsupported) {
				t.Errorf("%q: error is %v", b, err)
			}
			return
		}
		checkRef(t, ref)
	})
}
