package s3

import (
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/conntest"
)

// random returns bytes that depend on a seed.
func random(seed byte, size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// TestConformance: one object, an object by its version, a prefix of several pages.
func TestConformance(t *testing.T) {
	big := random(1, 2<<20+3)
	objects := map[string][]byte{
		"big.bin": big, "m/": nil, "m/a/with space+ü%.txt": []byte("quoted"), "m/b": []byte("b"), "m/c": {}, "m/d": []byte("d"), "n": []byte("n"),
	}
	for name, tc := range map[string]struct {
		ref, missing string
		sums         bool
		files        []conntest.File
	}{
		"key":     {`"s3://lab@bkt/big.bin"`, `"s3://lab@bkt/none"`, false, []conntest.File{{Path: "big.bin", Content: big}}},
		"sums":    {`"s3://lab@bkt/big.bin"`, `"s3://lab@none/none"`, true, []conntest.File{{Path: "big.bin", Content: big}}},
		"version": {`{"type":"s3","endpoint":"lab","bucket":"bkt","key":"big.bin","version_id":"v 1","filename":"f"}`, `{"type":"s3","endpoint":"lab","bucket":"bkt","key":"big.bin","version_id":"v2"}`, true, []conntest.File{{Path: "f", Content: big}}},
		"prefix": {`"s3://lab@bkt/m/"`, `"s3://lab@bkt/none/"`, true, []conntest.File{
			{Path: "a/with space+ü%.txt", Content: []byte("quoted")}, {Path: "b", Content: []byte("b")}, {Path: "c"}, {Path: "d", Content: []byte("d")},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			conntest.Run(t, func(t *testing.T) conntest.Fixture {
				b := open(t, &bucket{objects: objects, pages: 2, sums: tc.sums})
				return conntest.Fixture{Connector: connect(t, b, nil), Ref: parse(t, tc.ref), Missing: parse(t, tc.missing), Files: tc.files}
			})
		})
	}
}

// TestItem: what is known of an object before its bytes are asked for.
func TestItem(t *testing.T) {
	content := []byte("content")
	b := open(t, &bucket{objects: map[string][]byte{"a/k": content}, pages: 10, sums: true})
	c := connect(t, b, nil)
	one, err := resolve(t, c, parse(t, `"s3://lab@bkt/a/k"`))
	if err != nil {
		t.Fatal(err)
	}
	sum, place := sha256.Sum256(content), "s3:"+b.URL+"/bkt/a/k"
	key := place + "#etag=" + tag(content)
	if it := one[0]; it.Size != -1 || it.SHA256 != nil || it.Key != place || it.Pinned || len(it.Scope) != 32 {
		t.Errorf("before it is opened it is %+v", it)
	}
	body, err := one[0].Open(t.Context(), 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := body.Close(); err != nil || body.Size != 7 || body.SHA256 == nil || *body.SHA256 != sum || body.Key != key || len(body.Meta) == 0 {
		t.Errorf("body is %+v, %v", body, err)
	}
	if _, err := one[0].Open(t.Context(), 0, -1, body.Meta); !errors.Is(err, connectors.ErrNotModified) {
		t.Errorf("again: %v, want %v", err, connectors.ErrNotModified)
	}
	it, err := one[0].Look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if it.Size != 7 || it.SHA256 == nil || *it.SHA256 != sum || it.Key != key || !it.Pinned || it.Source != "s3" || it.URL != "s3://lab@bkt/a/k" || len(it.Scope) != 32 {
		t.Errorf("item is %+v", it)
	}
	listed, err := resolve(t, c, parse(t, `"s3://lab@bkt/a/"`))
	if err != nil || len(listed) != 1 || listed[0].Key != key || listed[0].SHA256 != nil || listed[0].Size != 7 || listed[0].Scope != it.Scope {
		t.Errorf("listed %+v, %v", listed, err)
	}
	versioned, err := resolve(t, c, parse(t, `{"type":"s3","endpoint":"lab","bucket":"bkt","key":"a/k","version_id":"v"}`))
	if err != nil || versioned[0].Key != "s3:"+b.URL+"/bkt/a/k#version=v" || !versioned[0].Pinned || versioned[0].Revision != "v" {
		t.Errorf("versioned %+v, %v", versioned, err)
	}
	want := []string{"GET /bkt/a/k", "GET /bkt/a/k", "GET /bkt/a/k", "HEAD /bkt/a/k", "GET /bkt/?encoding-type=url&list-type=2&max-keys=1000&prefix=a%2F"}
	if got := b.asked(); !slices.Equal(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}
	other := connect(t, b, func(e *Endpoint) { e.SecretKey = "other" })
	if again, err := resolve(t, other, parse(t, `"s3://lab@bkt/a/k"`)); err != nil || again[0].Scope == it.Scope || again[0].Key != place {
		t.Errorf("with another key: %+v, %v", again, err)
	}
}

// TestKnown takes alias keys apart.
func TestKnown(t *testing.T) {
	b := open(t, &bucket{})
	c := connect(t, b, nil)
	for _, tc := range []struct {
		key, object, version string
	}{
		{"s3:" + b.URL + "/bkt/a/k", "a/k", ""},
		{"s3:" + b.URL + `/bkt/a#b/k#etag="x"`, "a#b/k", ""},
		{"s3:" + b.URL + "/bkt/k#etag=#version=v 1", "k#etag=", "v 1"},
		{"s3:" + b.URL + "/bkt", "", ""},
		{"s3:" + b.URL + "//k", "", ""},
		{"s3:https://s3.invalid/bkt/k", "", ""},
		{"url:" + b.URL + "/bkt/k", "", ""},
	} {
		var want []connectors.Ref
		if tc.object != "" {
			want = []connectors.Ref{{Type: connectors.TypeS3, Endpoint: "lab", Bucket: "bkt", Key: tc.object, Version: tc.version}}
		}
		if got := c.Known(tc.key); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, want %+v", tc.key, got, want)
		}
	}
}

// TestPatterns: they choose among the names below the prefix.
func TestPatterns(t *testing.T) {
	b := open(t, &bucket{pages: 3, objects: map[string][]byte{
		"m/a.bin": nil, "m/a.json": nil, "m/sub/b.bin": nil, "m/sub/c.txt": nil, "mm.bin": nil, "m/../evil.bin": nil,
	}})
	c := connect(t, b, nil)
	for ref, want := range map[string][]string{
		`"s3://lab@bkt/m/*.bin"`: nil, // the name that leads out is refused, it does not vanish
		`{"type":"s3","endpoint":"lab","bucket":"bkt","prefix":"m/","allow_patterns":["*.bin"],"ignore_patterns":["../"]}`: {"a.bin", "sub/b.bin"},
		`{"type":"s3","endpoint":"lab","bucket":"bkt","prefix":"m","ignore_patterns":["*../*","*.json","*.txt"]}`:          {"m/a.bin", "m/sub/b.bin", "mm.bin"},
		`"s3://lab@bkt/m/sub/*.bin"`: {"b.bin"},
	} {
		items, err := resolve(t, c, parse(t, ref))
		if want == nil {
			if !errors.Is(err, connectors.ErrInvalid) || !strings.Contains(err.Error(), "../evil") {
				t.Errorf("%s: %v", ref, err)
			}
			continue
		}
		var got []string
		for _, it := range items {
			got = append(got, it.Path)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v; want %q", ref, got, err, want)
		}
	}
}

// TestAccess: what a job may ask for is the operator's choice.
func TestAccess(t *testing.T) {
	b := open(t, &bucket{objects: map[string][]byte{"k": []byte("x")}, pages: 1})
	limited := func(e *Endpoint) { e.Buckets = []string{"other"} }
	for _, tc := range []struct {
		name, ref string
		operator  bool
		change    func(*Endpoint)
		want      error // nil: allowed
	}{
		{"configured", `"s3://lab@bkt/k"`, false, nil, nil},
		{"unknown alias", `"s3://nowhere@bkt/k"`, false, nil, connectors.ErrInvalid},
		{"unknown alias of the operator", `"s3://nowhere@bkt/k"`, true, nil, connectors.ErrInvalid},
		{"ambient credentials", `"s3://bkt/k"`, false, nil, connectors.ErrForbidden},
		{"another bucket", `"s3://lab@bkt/k"`, false, limited, connectors.ErrForbidden},
		{"another bucket by prefix", `"s3://lab@bkt/"`, false, limited, connectors.ErrForbidden},
		{"another bucket of the operator", `"s3://lab@bkt/k"`, true, limited, nil},
		{"no keys", `"s3://lab@bkt/k"`, false, func(e *Endpoint) { e.AccessKey, e.SecretKey, e.Credentials = "", "", None }, connectors.ErrUnauthorized},
		{"empty environment", `"s3://lab@bkt/k"`, false, func(e *Endpoint) { e.AccessKey, e.SecretKey, e.Credentials = "", "", Env }, connectors.ErrUnauthorized},
		{"broken configuration", `"s3://lab@bkt/k"`, true, func(e *Endpoint) { e.Credentials = "magic" }, connectors.ErrInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := connect(t, b, tc.change)
			for it, err := range c.Items(t.Context(), parse(t, tc.ref), connectors.Access{Operator: tc.operator}) {
				if err == nil && it.Look != nil {
					var body *connectors.Body
					if body, err = it.Open(t.Context(), 0, -1, nil); err == nil {
						err = body.Close()
					}
				}
				if !errors.Is(err, tc.want) || tc.want == nil && it.Path != "k" {
					t.Errorf("%q, %v; want %v", it.Path, err, tc.want)
				}
			}
		})
	}
}

// TestRegion: the region that an answer names is asked, once, and remembered.
func TestRegion(t *testing.T) {
	b := open(t, &bucket{objects: map[string][]byte{"k": []byte("x")}, pages: 1})
	c := connect(t, b, func(e *Endpoint) { e.Region = "us-test-9" })
	for range 2 {
		if items, err := resolve(t, c, parse(t, `"s3://lab@bkt/k"`)); err != nil || len(items) != 1 {
			t.Fatalf("%v, %v", items, err)
		}
	}
	// The refusal of the first one tells the region.
	want := []string{"GET /bkt/k", "GET /bkt/k", "GET /bkt/k"}
	if got := b.asked(); !slices.Equal(got, want) {
		t.Errorf("asked %q, want %q", got, want)
	}

	lost := open(t, &bucket{answer: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Amz-Bucket-Region", "nowhere-"+string(rune('a'+rand.IntN(26))))
		w.Header().Set("Location", "http://evil.test/")
		w.WriteHeader(http.StatusMovedPermanently)
	}})
	_, err := resolve(t, connect(t, lost, nil), parse(t, `{"type":"s3","endpoint":"lab","bucket":"bkt","key":"k","region":"here"}`))
	if !errors.Is(err, connectors.ErrUpstream) || len(lost.asked()) != 2 {
		t.Errorf("%v after %q", err, lost.asked())
	}
}

// TestChanged: an object that is another one by the time that it is opened is
// not taken for the one that was listed, whether the server cares or not.
func TestChanged(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		b := open(t, &bucket{objects: map[string][]byte{"k": []byte("old")}, pages: 1, deaf: deaf})
		c := connect(t, b, nil)
		items, err := resolve(t, c, parse(t, `"s3://lab@bkt/"`))
		if err != nil {
			t.Fatal(err)
		}
		b.objects["k"] = []byte("new")
		body, err := items[0].Open(t.Context(), 0, -1, nil)
		if err == nil {
			got, rerr := io.ReadAll(body)
			t.Errorf("deaf %t: read %q, %v; %v", deaf, got, rerr, body.Close())
		}
		if !errors.Is(err, connectors.ErrChanged) || !errors.Is(err, connectors.ErrUpstream) {
			t.Errorf("deaf %t: %v", deaf, err)
		}
	}
}

// TestExplain: S3's codes are told apart.
func TestExplain(t *testing.T) {
	for _, tc := range []struct {
		code   string
		status int
		want   error
		text   string
	}{
		{"NoSuchKey", 404, connectors.ErrNotFound, "no such object"},
		{"NoSuchBucket", 404, connectors.ErrNotFound, "no such bucket"},
		{"AccessDenied", 403, connectors.ErrUnauthorized, "access denied"},
		{"SignatureDoesNotMatch", 403, connectors.ErrUnauthorized, "signature"},
		{"InvalidAccessKeyId", 403, connectors.ErrUnauthorized, "expired"},
		{"ExpiredToken", 400, connectors.ErrUnauthorized, "expired"},
		{"RequestTimeTooSkewed", 403, connectors.ErrUnauthorized, "clocks"},
		{"InvalidObjectState", 403, connectors.ErrUnauthorized, "archived"},
		{"InvalidBucketName", 400, connectors.ErrUpstream, "InvalidBucketName: told by the test"},
		{"OnlyOnSundays", 403, connectors.ErrUnauthorized, "OnlyOnSundays: told by the test"},
		{"XAdminUserNotFound", 404, connectors.ErrUnauthorized, "access key"},
		{"TemporaryRedirect", 307, connectors.ErrUpstream, "elsewhere"},
		{"", 403, connectors.ErrUnauthorized, ""},
		{"", 404, connectors.ErrNotFound, ""},
		{"NotImplemented", 501, connectors.ErrUpstream, ""},
	} {
		b := open(t, &bucket{answer: func(w http.ResponseWriter, _ *http.Request) { refuse(w, tc.status, tc.code, "<Region>../../</Region>") }})
		_, err := resolve(t, connect(t, b, nil), parse(t, `"s3://lab@bkt/k"`))
		ce, ok := errors.AsType[*connectors.Error](err)
		if !ok || !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) || ce.Status != tc.status || ce.Source == "" {
			t.Errorf("%s: %v", tc.code, err)
		}
		if errors.Is(tc.want, connectors.ErrUnauthorized) && tc.code != "" && ce.Hint == "" {
			t.Errorf("%s: no hint", tc.code)
		}
	}
}

// TestSharedFile: keys of the shared files, which are read again after they
// were refused.
func TestSharedFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "credentials")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", name)
	t.Setenv("AWS_CONFIG_FILE", name+"-none")
	t.Setenv("AWS_PROFILE", "")
	b := open(t, &bucket{objects: map[string][]byte{"k": []byte("x")}, pages: 1})
	c := connect(t, b, func(e *Endpoint) { e.AccessKey, e.SecretKey, e.Profile = "", "", "work" })
	if _, err := resolve(t, c, parse(t, `"s3://lab@bkt/k"`)); !errors.Is(err, connectors.ErrUnauthorized) {
		t.Errorf("without a file: %v", err)
	}
	if err := os.WriteFile(name, []byte("[work]\naws_access_key_id = AK\naws_secret_access_key = SK\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	items, err := resolve(t, c, parse(t, `"s3://lab@bkt/k"`))
	if err != nil || items[0].Scope == "" {
		t.Errorf("with a file: %v, %v", items, err)
	}
	must := connect(t, b, func(e *Endpoint) { e.AccessKey, e.SecretKey, e.Credentials, e.Profile = "", "", Shared, "none" })
	if _, err := resolve(t, must, parse(t, `"s3://lab@bkt/k"`)); !errors.Is(err, connectors.ErrUnauthorized) || !strings.Contains(err.Error(), "credentials") {
		t.Errorf("a profile that is not there: %v", err)
	}
}

// TestBase: where a bucket is.
func TestBase(t *testing.T) {
	yes, no := true, false
	for _, tc := range []struct {
		e              Endpoint
		bucket, region string
		want           string
	}{
		{Endpoint{}, "bkt", "eu-west-1", "https://bkt.s3.eu-west-1.amazonaws.com"},
		{Endpoint{}, "b.kt", "eu-west-1", "https://s3.eu-west-1.amazonaws.com/b.kt"},
		{Endpoint{}, "bkt", "cn-north-1", "https://bkt.s3.cn-north-1.amazonaws.com.cn"},
		{Endpoint{PathStyle: &yes}, "bkt", "us-east-1", "https://s3.us-east-1.amazonaws.com/bkt"},
		{Endpoint{URL: "http://127.0.0.1:9000/"}, "bkt", "x", "http://127.0.0.1:9000/bkt"},
		{Endpoint{URL: "https://s3.test", PathStyle: &no}, "bkt", "x", "https://bkt.s3.test"},
	} {
		if got := newAccount("a", tc.e, Keys{}, true).base(tc.bucket, tc.region); got != tc.want {
			t.Errorf("%+v: %s, want %s", tc.e, got, tc.want)
		}
	}
}

// TestCheckEndpoint: what can't be used is named.
func TestCheckEndpoint(t *testing.T) {
	for _, tc := range []struct {
		e    Endpoint
		want string
	}{
		{Endpoint{}, ""},
		{Endpoint{URL: "https://s3.test:9000", Region: "eu-1", AccessKey: "a", SecretKey: "s", Buckets: []string{"abc"}}, ""},
		{Endpoint{URL: "s3.test"}, "endpoint"},
		{Endpoint{URL: "ftp://s3.test"}, "endpoint"},
		{Endpoint{URL: "http://u:p@s3.test"}, "endpoint"},
		{Endpoint{URL: "http://s3.test/x"}, "endpoint"},
		{Endpoint{Region: "a/b"}, "region"},
		{Endpoint{AccessKey: "a"}, "secret_key"},
		{Endpoint{Credentials: "magic"}, "credentials"},
		{Endpoint{Credentials: None, AccessKey: "a", SecretKey: "s"}, "credentials"},
		{Endpoint{Buckets: []string{"A"}}, "buckets"},
	} {
		if err := tc.e.Check(); (tc.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v, want %q", tc.e, err, tc.want)
		}
	}
}

// TestConfigFromEnv reads Amazon's variables.
func TestConfigFromEnv(t *testing.T) {
	env := map[string]string{
		"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "t",
		"AWS_DEFAULT_REGION": "eu-1", "AWS_ENDPOINT_URL": "http://s3.test/", "AWS_REGION": " ",
	}
	c := ConfigFromEnv(func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	if c.Keys != (Keys{Access: "a", Secret: "s", Session: "t"}) || c.Ambient.URL != "http://s3.test" || c.Ambient.Region != "eu-1" {
		t.Errorf("%+v %+v", c.Keys.Access, c.Ambient)
	}
}
