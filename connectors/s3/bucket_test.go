package s3

import (
	"bytes"
	"crypto/md5" //nolint:gosec // S3's entity tag
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
)

// bucket is a server with one bucket, "bkt", in one region. It believes every
// signature that is made for its region with its access key.
type bucket struct {
	URL     string
	region  string
	pages   int               // keys of a page
	sums    bool              // it knows the sha256 of its objects
	deaf    bool              // it takes no notice of If-Match
	answer  http.HandlerFunc  // nil: what a server does
	objects map[string][]byte // by key

	mu       sync.Mutex
	requests []string       // method, path and query, as they came
	parts    map[int][]byte // of the upload that is under way
}

// open starts a bucket that the test's end stops.
func open(t *testing.T, b *bucket) *bucket {
	t.Helper()
	b.region = "eu-test-1"
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	b.URL = server.URL
	return b
}

// asked returns the requests so far.
func (b *bucket) asked() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.requests)
}

// ServeHTTP answers as S3 does.
func (b *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	b.requests = append(b.requests, r.Method+" "+r.RequestURI)
	b.mu.Unlock()
	var body []byte
	if r.Body != nil && b.answer == nil {
		got, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client has gone
		}
		body = got
	}
	sum := sha256.Sum256(body)
	auth := r.Header.Get("Authorization")
	_, rest, _ := strings.Cut(auth, "Credential=AK/")
	scope := strings.Split(strings.Split(rest, ",")[0], "/")
	switch {
	case b.answer != nil:
		b.answer(w, r)
	case auth == "" || len(scope) != 4 || scope[2] != "s3" || r.Header.Get("X-Amz-Content-Sha256") == "":
		refuse(w, http.StatusForbidden, "AccessDenied", "")
	case r.Header.Get("X-Amz-Content-Sha256") != hex.EncodeToString(sum[:]):
		refuse(w, http.StatusBadRequest, "XAmzContentSHA256Mismatch", "")
	case scope[1] != b.region:
		refuse(w, http.StatusBadRequest, "AuthorizationHeaderMalformed", "<Region>"+b.region+"</Region>")
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		b.change(w, r, body)
	case strings.HasPrefix(r.RequestURI, "/bkt/?"):
		b.list(w, r.URL.Query())
	case strings.HasPrefix(r.URL.EscapedPath(), "/bkt/"):
		b.object(w, r)
	default:
		refuse(w, http.StatusNotFound, "NoSuchBucket", "")
	}
}

// refuse answers with an error.
func refuse(w http.ResponseWriter, status int, code, more string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, "<?xml version=\"1.0\"?>\n<Error><Code>%s</Code><Message>told by the test</Message>%s</Error>", code, more)
}

// object answers for one object.
func (b *bucket) object(w http.ResponseWriter, r *http.Request) {
	key, err := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), "/bkt/"))
	content, ok := b.objects[key]
	switch version := r.URL.Query().Get("versionId"); {
	case err != nil || !ok:
		refuse(w, http.StatusNotFound, "NoSuchKey", "")
		return
	case version != "" && version != "v 1":
		refuse(w, http.StatusNotFound, "NoSuchVersion", "")
		return
	}
	w.Header().Set("ETag", tag(content))
	if b.sums && r.Header.Get("X-Amz-Checksum-Mode") == "ENABLED" && r.Header.Get("Range") == "" {
		sum := sha256.Sum256(content)
		w.Header().Set("X-Amz-Checksum-Sha256", base64.StdEncoding.EncodeToString(sum[:]))
	}
	if b.deaf {
		r.Header.Del("If-Match")
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// tag is an object's entity tag.
func tag(content []byte) string {
	sum := md5.Sum(content) //nolint:gosec // S3's entity tag
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

// list answers with a page of a listing; the token is the key before it.
func (b *bucket) list(w http.ResponseWriter, query url.Values) {
	var p struct {
		XMLName xml.Name `xml:"ListBucketResult"`
		page
	}
	keys := slices.Sorted(maps.Keys(b.objects))
	for _, key := range keys {
		if !strings.HasPrefix(key, query.Get("prefix")) || key <= query.Get("continuation-token") {
			continue
		}
		if len(p.Contents) == b.pages {
			p.IsTruncated = true
			break
		}
		size := int64(len(b.objects[key]))
		p.Contents = append(p.Contents, entry{Key: url.QueryEscape(key), ETag: tag(b.objects[key]), Size: &size})
		p.Next = key
	}
	p.EncodingType = "url"
	text, err := xml.Marshal(p)
	if err != nil {
		refuse(w, http.StatusInternalServerError, "InternalError", "")
		return
	}
	_, _ = w.Write(text)
}

// connect returns a connector whose alias lab is the bucket, with what change
// does to the endpoint.
func connect(t *testing.T, b *bucket, change func(*Endpoint)) *Connector {
	t.Helper()
	client := httpconn.NewClient(httpconn.Config{Delay: time.Millisecond})
	t.Cleanup(client.Close)
	e := Endpoint{URL: b.URL, Region: "eu-test-1", AccessKey: "AK", SecretKey: "SK"}
	if change != nil {
		change(&e)
	}
	return New(Config{Endpoints: map[string]Endpoint{"lab": e}, Client: client})
}

// parse returns the reference of a JSON text.
func parse(t *testing.T, text string) (ref connectors.Ref) {
	t.Helper()
	if err := ref.UnmarshalJSON([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return ref
}

// resolve returns the items of a reference, on behalf of a job. One that is named by
// its key is opened: nothing is asked before.
func resolve(t *testing.T, c *Connector, ref connectors.Ref) (items []connectors.Item, err error) {
	t.Helper()
	for it, err := range c.Items(t.Context(), ref, connectors.Access{}) {
		if err != nil {
			return items, err
		}
		if it.Look != nil {
			body, err := it.Open(t.Context(), 0, -1, nil)
			if err == nil {
				err = body.Close()
			}
			if err != nil {
				return items, err
			}
		}
		items = append(items, it)
	}
	return items, nil
}
