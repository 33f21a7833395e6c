package connectors

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	hello = "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e" // CID of "hello world"
	sum   = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"
)

func TestUnmarshal(t *testing.T) {
	hub := Ref{Type: TypeHuggingFace, Repository: "a/b", RepoType: RepoModel, Filenames: []string{"x"}, HasFilenames: true, Index: -1}
	tests := []struct {
		name string
		json string
		want Ref
	}{
		{"uri", `{"type":"uri","value":"https://example.org/a?b=c"}`, Ref{Type: TypeURI, Value: "https://example.org/a?b=c", Index: -1}},
		{"uri as string", `"https://example.org/a"`, Ref{Type: TypeURI, Value: "https://example.org/a", Index: -1}},
		{"url tag and field", `{"type":"URL","url":"http://example.org"}`, Ref{Type: TypeURI, Value: "http://example.org", Index: -1}},
		{"http tag", `{"type":"http","uri":"http://example.org"}`, Ref{Type: TypeURI, Value: "http://example.org", Index: -1}},
		{
			"uri with everything",
			`{"type":"uri","value":"https://example.org/a","filename":"d/e","checksum":"SHA256:` + strings.ToUpper(sum) + `","headers":{"X-Key":"k"},"token":"t","unknown":{"a":[1]}}`,
			Ref{Type: TypeURI, Value: "https://example.org/a", Filename: "d/e", Checksum: "sha256:" + sum, Headers: map[string]Secret{"X-Key": "k"}, Token: "t", Index: -1},
		},
		{"uri of the hub", `{"type":"uri","value":"hf://a/b/x","token":"t"}`, func() Ref { r := hub; r.Token = "t"; return r }()},
		{"rfc", `{"type":"HuggingFace","repository":"a/b","filenames":["x"]}`, hub},
		{"original", `{"type":"huggingface","repository":"a/b","revision":null,"filenames":["x"],"token":null}`, hub},
		{"snake", `{"type":"hugging_face","repository":"a/b","filenames":["x"],"repo_type":"Model"}`, hub},
		{"shout", `{"type":"HUGGING-FACE","repository":"a/b","filenames":["x"],"repo_type":"models"}`, hub},
		{"bare filename", `{"type":"hf","repo_id":"a/b","filenames":"x"}`, hub},
		{
			"dataset with patterns",
			`{"type":"huggingface","repository":"d","revision":"v1.0","repo_type":"Dataset","allow_patterns":["*.json"],"ignore_patterns":"x/"}`,
			Ref{Type: TypeHuggingFace, Repository: "d", Revision: "v1.0", RepoType: RepoDataset, Allow: []string{"*.json"}, Ignore: []string{"x/"}, Index: -1},
		},
		{"all files", `{"type":"huggingface","repository":"a/b","filenames":null}`, Ref{Type: TypeHuggingFace, Repository: "a/b", RepoType: RepoModel, Index: -1}},
		{"cids", `{"type":"cids","values":["` + hello + `","` + hello + `/a/b"]}`, Ref{Type: TypeCIDs, Values: []string{hello, hello + "/a/b"}, Index: -1}},
		{"cid", `{"type":"cid","value":"` + hello + `"}`, Ref{Type: TypeCIDs, Values: []string{hello}, Index: -1}},
		{"ipfs", `{"type":"IPFS","cid":"` + hello + `"}`, Ref{Type: TypeCIDs, Values: []string{hello}, Index: -1}},
		{"peers", `{"type":"Peers","peers":["12D3KooWA"],"strategy":"All"}`, Ref{Type: TypePeers, Peers: []string{"12D3KooWA"}, Strategy: "all", Index: -1}},
		{
			"peers with a slice", `{"type":"peers","peers":[],"strategy":{"type":"Random"},"resource":{"dataset":"d","index":7}}`,
			Ref{Type: TypePeers, Peers: []string{}, Strategy: "random", Dataset: "d", Index: 7},
		},
		{"peers without a resource", `{"type":"peers","peers":[],"strategy":{"type":"One"},"resource":null}`, Ref{Type: TypePeers, Peers: []string{}, Strategy: "one", Index: -1}},
		{"scheduler", `{"type":"scheduler","peer":"12D3KooWA","dataset":"mnist"}`, Ref{Type: TypeScheduler, Peers: []string{"12D3KooWA"}, Dataset: "mnist", Index: -1}},
		{"s3", `{"type":"S3","bucket":"my-bucket","key":"a/b c"}`, Ref{Type: TypeS3, Value: "s3://my-bucket/a/b c", Bucket: "my-bucket", Key: "a/b c", Index: -1}},
		{
			"s3, all", `{"type":"s3","endpoint":"lab","bucket":"my-bucket","key":"k","region":"eu-west-1","version_id":"v 1","filename":"f"}`,
			Ref{
				Type: TypeS3, Value: "s3://lab@my-bucket/k", Endpoint: "lab", Bucket: "my-bucket", Key: "k",
				Region: "eu-west-1", Version: "v 1", Filename: "f", Index: -1,
			},
		},
		{
			"s3 prefix", `{"type":"s3","bucket":"my-bucket","prefix":"a/b","allow_patterns":["*.bin"],"ignore_patterns":"x"}`,
			Ref{
				Type: TypeS3, Value: "s3://my-bucket/a/b*", Bucket: "my-bucket", Prefix: "a/b", HasPrefix: true,
				Allow: []string{"*.bin"}, Ignore: []string{"x"}, Index: -1,
			},
		},
		{"s3 bucket", `{"type":"s3","bucket":"my-bucket","prefix":""}`, Ref{Type: TypeS3, Value: "s3://my-bucket/", Bucket: "my-bucket", HasPrefix: true, Index: -1}},
		{"s3 as uri", `{"type":"uri","value":"S3://lab@my-bucket/a","filename":"f"}`, Ref{Type: TypeS3, Value: "s3://lab@my-bucket/a", Endpoint: "lab", Bucket: "my-bucket", Key: "a", Filename: "f", Index: -1}},
		{"s3 uri", `{"type":"s3","value":"s3://my-bucket/a"}`, Ref{Type: TypeS3, Value: "s3://my-bucket/a", Bucket: "my-bucket", Key: "a", Index: -1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got Ref
			if err := json.Unmarshal([]byte(tt.json), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b Secret) bool { return a == b })); diff != "" {
				t.Errorf("reference differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestUnmarshalRefuses(t *testing.T) {
	hub := func(rest string) string { return `{"type":"huggingface","repository":"a/b",` + rest + `}` }
	uri := func(rest string) string { return `{"type":"uri","value":"https://example.org/a",` + rest + `}` }
	tests := []struct {
		name  string
		json  string
		field string
	}{
		{"number", `1`, ""},
		{"list", `[]`, ""},
		{"no type", `{}`, "type"},
		{"type is null", `{"type":null}`, "type"},
		{"type is a number", `{"type":1}`, "type"},
		{"uri missing", `{"type":"uri"}`, "value"},
		{"uri is a list", `{"type":"uri","value":["https://example.org"]}`, "value"},
		{"token is a number", uri(`"token":5`), "token"},
		{"token with a newline", uri(`"token":"a\nHost: x"`), "token"},
		{"headers are a list", uri(`"headers":[]`), "headers"},
		{"header value is a number", uri(`"headers":{"A":1}`), "headers"},
		{"header name with a space", uri(`"headers":{"A B":"x"}`), "headers.A B"},
		{"header name is empty", uri(`"headers":{"":"x"}`), "headers."},
		{"header value with CRLF", uri(`"headers":{"A":"x\r\nB: y"}`), "headers.A"},
		{"header Host", uri(`"headers":{"host":"x"}`), "headers.host"},
		{"header Range", uri(`"headers":{"RANGE":"bytes=0-"}`), "headers.RANGE"},
		{"header Transfer-Encoding", uri(`"headers":{"transfer-encoding":"chunked"}`), "headers.transfer-encoding"},
		{"checksum is short", uri(`"checksum":"sha256:abcd"`), "checksum"},
		{"checksum of another kind", uri(`"checksum":"md5:` + sum + `"`), "checksum"},
		{"checksum without a kind", uri(`"checksum":"` + sum + `"`), "checksum"},
		{"checksum is no hex", uri(`"checksum":"sha256:` + strings.Repeat("z", 64) + `"`), "checksum"},
		{"filename leaves", uri(`"filename":"../a"`), "filename"},
		{"filename is absolute", uri(`"filename":"/etc/passwd"`), "filename"},
		{"filename with NUL", uri(`"filename":"a\u0000b"`), "filename"},
		{"repository missing", `{"type":"huggingface","filenames":["x"]}`, "repository"},
		{"repository blank", `{"type":"huggingface","repository":"  ","filenames":["x"]}`, "repository"},
		{"repository of three", `{"type":"huggingface","repository":"a/b/c"}`, "repository"},
		{"repository leaves", `{"type":"huggingface","repository":"../x"}`, "repository"},
		{"repository with --", `{"type":"huggingface","repository":"a--b/c"}`, "repository"},
		{"repository ends in .git", `{"type":"huggingface","repository":"a/b.git"}`, "repository"},
		{"repository with a query", `{"type":"huggingface","repository":"a/b?c"}`, "repository"},
		{"repository with an escape", `{"type":"huggingface","repository":"a/b%2Fc"}`, "repository"},
		{"repository begins with a dot", `{"type":"huggingface","repository":".a/b"}`, "repository"},
		{"repository is long", `{"type":"huggingface","repository":"a/` + strings.Repeat("b", 97) + `"}`, "repository"},
		{"repo_type", hub(`"repo_type":"bucket"`), "repo_type"},
		{"revision leaves", hub(`"revision":"../../x"`), "revision"},
		{"revision with a space", hub(`"revision":"a b"`), "revision"},
		{"revision with a newline", hub(`"revision":"a\nb"`), "revision"},
		{"revision is long", hub(`"revision":"` + strings.Repeat("a", 256) + `"`), "revision"},
		{"filenames empty", hub(`"filenames":[]`), "filenames"},
		{"filenames is an object", hub(`"filenames":{}`), "filenames"},
		{"a filename is a number", hub(`"filenames":["a",1]`), "filenames"},
		{"a filename is null", hub(`"filenames":["a",null]`), "filenames[1]"},
		{"a filename is empty", hub(`"filenames":["a",""]`), "filenames[1]"},
		{"a filename leaves", hub(`"filenames":["a","b/../../c"]`), "filenames[1]"},
		{"a filename with a backslash", hub(`"filenames":["a\\b"]`), "filenames[0]"},
		{"a filename with a drive", hub(`"filenames":["C:/x"]`), "filenames[0]"},
		{"both names and patterns", hub(`"filenames":["a"],"allow_patterns":["*"]`), "allow_patterns"},
		{"a pattern is empty", hub(`"allow_patterns":[""]`), "allow_patterns[0]"},
		{"a pattern is huge", hub(`"ignore_patterns":["` + strings.Repeat("*", 5000) + `"]`), "ignore_patterns[0]"},
		{"too many filenames", hub(`"filenames":["a"` + strings.Repeat(`,"a"`, MaxNames) + `]`), "filenames"},
		{"cids missing", `{"type":"cids"}`, "values"},
		{"cids empty", `{"type":"cids","values":[]}`, "values"},
		{"no cid", `{"type":"cids","values":["` + hello + `","bafynothing"]}`, "values[1]"},
		{"cid path leaves", `{"type":"cids","values":["` + hello + `/../x"]}`, "values[0]"},
		{"cid is huge", `{"type":"cids","values":["` + strings.Repeat("b", 5000) + `"]}`, "values[0]"},
		{"strategy", `{"type":"peers","peers":[],"strategy":"most"}`, "strategy"},
		{"strategy's type", `{"type":"peers","peers":[],"strategy":{"type":1}}`, "strategy.type"},
		{"peers is a number", `{"type":"peers","peers":1}`, "peers"},
		{"a peer is empty", `{"type":"peers","peers":[""]}`, "peers[0]"},
		{"resource is a list", `{"type":"peers","peers":[],"resource":[]}`, "resource"},
		{"index is a text", `{"type":"peers","peers":[],"resource":{"index":"1"}}`, "resource.index"},
		{"index is negative", `{"type":"peers","peers":[],"resource":{"index":-1}}`, "resource.index"},
		{"scheduler without a peer", `{"type":"scheduler","dataset":"d"}`, "peer"},
		{"scheduler without a dataset", `{"type":"scheduler","peer":"p"}`, "dataset"},
		{"bucket", `{"type":"s3","bucket":"A","key":"k"}`, "bucket"},
		{"key", `{"type":"s3","bucket":"abc","key":""}`, "key"},
		{"no key", `{"type":"s3","bucket":"abc"}`, "key"},
		{"key with dots", `{"type":"s3","bucket":"abc","key":"a/../b"}`, "key"},
		{"key too long", `{"type":"s3","bucket":"abc","key":"` + strings.Repeat("k", 1025) + `"}`, "key"},
		{"prefix with dots", `{"type":"s3","bucket":"abc","prefix":"../b"}`, "prefix"},
		{"prefix and key", `{"type":"s3","bucket":"abc","prefix":"a","key":"k"}`, "prefix"},
		{"address as endpoint", `{"type":"s3","bucket":"abc","key":"k","endpoint":"http://169.254.169.254"}`, "endpoint"},
		{"region that is a host", `{"type":"s3","bucket":"abc","key":"k","region":"x.evil.test/"}`, "region"},
		{"version of a prefix", `{"type":"s3","bucket":"abc","prefix":"k","version_id":"1"}`, "version_id"},
		{"patterns of a key", `{"type":"s3","bucket":"abc","key":"k","allow_patterns":["a"]}`, "allow_patterns"},
		{"two patterns", `{"type":"s3","value":"s3://abc/*","allow_patterns":["a"]}`, "allow_patterns"},
		{"s3 token", `{"type":"s3","bucket":"abc","key":"k","token":"t"}`, "token"},
		{"checksum of a prefix", `{"type":"uri","value":"s3://abc/a/","checksum":"sha256:` + strings.Repeat("a", 64) + `"}`, "checksum"},
		{"filename of a prefix", `{"type":"s3","value":"s3://abc/a/","filename":"f"}`, "filename"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Ref{Type: "before"}
			err := json.Unmarshal([]byte(tt.json), &got)
			fe, ok := errors.AsType[*FieldError](err)
			if !ok || !errors.Is(err, ErrInvalid) {
				t.Fatalf("error is %v, want a FieldError", err)
			}
			if fe.Field != tt.field {
				t.Errorf("field is %q, want %q (%v)", fe.Field, tt.field, err)
			}
			if got.Type != "before" {
				t.Error("the reference was changed although it was refused")
			}
			if len(err.Error()) > 500 {
				t.Errorf("error has %d bytes", len(err.Error()))
			}
		})
	}
}

func TestUnknownType(t *testing.T) {
	for _, tag := range []string{"ftp", "", "  ", "hugging face 2", "<script>", strings.Repeat("x", 10000)} {
		b, err := json.Marshal(map[string]string{"type": tag, "value": "https://example.org"})
		if err != nil {
			t.Fatal(err)
		}
		var ref Ref
		err = json.Unmarshal(b, &ref)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "type") || len(err.Error()) > 300 {
			t.Errorf("type %.20q: error is %v", tag, err)
		}
	}
	if _, err := (Set{}).For(Ref{Type: TypeS3}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("error is %v, want %v", err, ErrUnsupported)
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	const secret = "hf_TOPSECRET"
	var ref Ref
	text := `{"type":"uri","value":"https://user:` + secret + `@example.org/a?X-Amz-Signature=` + secret + `#` + secret + `","token":"` + secret + `","headers":{"X-Key":"` + secret + `"}}`
	if err := json.Unmarshal([]byte(text), &ref); err != nil {
		t.Fatal(err)
	}
	if ref.Token.Reveal() != secret || ref.Headers["X-Key"].Reveal() != secret {
		t.Fatal("the secret itself is lost")
	}
	for _, v := range []any{ref, &ref, []Ref{ref}, struct{ R Ref }{ref}, ref.Token, &ref.Token, ref.Headers, map[string]any{"r": ref}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
			if out := fmt.Sprintf(verb, v); strings.Contains(out, secret) || strings.Contains(out, fmt.Sprintf("%x", secret)) {
				t.Errorf("%s of %T prints the secret: %s", verb, v, out)
			}
		}
		for _, handler := range []func(*bytes.Buffer) slog.Handler{
			func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
			func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
		} {
			var b bytes.Buffer
			slog.New(handler(&b)).Info("fetch", slog.Any("ref", v))
			if strings.Contains(b.String(), secret) {
				t.Errorf("the log of %T prints the secret: %s", v, b.String())
			}
		}
	}
	if b, err := json.Marshal(struct {
		T Secret
		H map[string]Secret
	}{ref.Token, ref.Headers}); err != nil || strings.Contains(string(b), secret) {
		t.Errorf("JSON prints the secret: %s, %v", b, err)
	}
	if got := ref.String(); got != "https://example.org/a?…" {
		t.Errorf("the reference reads %q", got)
	}
	if Secret("").String() != "" {
		t.Error("an empty secret looks like one")
	}
}

func TestString(t *testing.T) {
	tests := []struct {
		ref  Ref
		want string
	}{
		{Ref{Type: TypeHuggingFace, Repository: "a/b", RepoType: RepoModel}, "hf://a/b"},
		{Ref{Type: TypeHuggingFace, Repository: "a/b", RepoType: RepoDataset, Revision: "v1", Filenames: []string{"x", "y"}}, "hf://datasets/a/b@v1/x (+1)"},
		{Ref{Type: TypeHuggingFace, Repository: "a/b", RepoType: RepoSpace, Allow: []string{"*.py"}}, "hf://spaces/a/b/*.py"},
		{Ref{Type: TypeCIDs, Values: []string{hello}}, "ipfs://" + hello},
		{Ref{Type: TypeS3, Bucket: "bucket", Key: "k%y"}, "s3://bucket/k%y"},
		{Ref{Type: TypeS3, Endpoint: "lab", Bucket: "bucket", Prefix: "a/b", HasPrefix: true}, "s3://lab@bucket/a/b*"},
		{Ref{Type: TypePeers, Strategy: "all", Peers: []string{"p"}}, "peers:all:p"},
		{Ref{Type: TypeScheduler, Peers: []string{"p"}, Dataset: "d"}, "scheduler:p/d"},
		{Ref{}, `reference of type ""`},
		{Ref{Type: TypeURI, Value: "%zz"}, "[redacted]"},
	}
	for _, tt := range tests {
		if got := tt.ref.String(); got != tt.want {
			t.Errorf("reference reads %q, want %q", got, tt.want)
		}
	}
}

func TestClone(t *testing.T) {
	ref := Ref{
		Filenames: []string{"a"}, Allow: []string{"a"}, Ignore: []string{"a"}, Values: []string{"a"}, Peers: []string{"a"},
		Headers: map[string]Secret{"a": "a"},
	}
	c := ref.Clone()
	for _, list := range [][]string{c.Filenames, c.Allow, c.Ignore, c.Values, c.Peers} {
		list[0] = "b"
	}
	c.Headers["a"] = "b"
	for _, list := range [][]string{ref.Filenames, ref.Allow, ref.Ignore, ref.Values, ref.Peers, {string(ref.Headers["a"])}} {
		if list[0] != "a" {
			t.Errorf("a change of the clone reached the original: %q", list)
		}
	}
}
