package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
	"github.com/hypha-node/hypha-node/internal/humanize"
)

// Bounds of an upload.
const (
	partSize  = 64 << 20 // bytes; what is larger goes in parts of so many
	maxParts  = 10_000   // of one object: the limit of S3
	maxObject = 5 << 40  // bytes: the same
	atOnce    = 4        // parts on the way
	// patience is the longest time in which an endpoint may take no byte of a
	// part: longer than the longest pause that it may ask for.
	patience = 10 * time.Minute
	// parting is how long the parts of an upload that failed may take to be dropped.
	parting = 30 * time.Second
)

// Stored is an object as it was put.
type Stored struct {
	Size    int64 // bytes
	SHA256  [sha256.Size]byte
	ETag    string // without quotes
	Version string // "" if the bucket has none
}

// Put stores size bytes of src under the key that the reference names, on behalf
// of the operator. They are read twice, the first time for their digests: what
// changes in between is an ErrMismatch, and no object. An object appears whole or
// not at all; what is larger than 64 MiB goes in parts, four at a time, and no
// more than buffers of it is in memory. moved, if not nil, is told how many bytes
// more are on the way, fewer when some have to be sent again; from several
// goroutines, and maybe once more after Put has returned.
func (c *Connector) Put(ctx context.Context, ref connectors.Ref, src io.ReaderAt, size int64, moved func(n int64)) (Stored, error) {
	q, err := c.begin(ref, connectors.Access{Operator: true})
	if err != nil {
		return Stored{}, err
	}
	switch {
	case ref.Key == "" || ref.Version != "":
		return Stored{}, &connectors.FieldError{Field: "key", Problem: "is not what an object can be stored under"}
	case size > maxObject:
		return Stored{}, q.refusal(fmt.Errorf("%w: %d bytes are more than an object may have", connectors.ErrInvalid, size), "")
	}
	if moved == nil {
		moved = func(int64) {}
	}
	u := &upload{query: q, src: src, size: size, moved: moved, part: max(c.part, (size+maxParts-1)/maxParts)}
	whole, err := u.measure(ctx)
	if err != nil {
		return Stored{}, err
	}
	done := Stored{Size: size, SHA256: whole}
	var header http.Header
	if len(u.sums) == 1 {
		header, err = u.put(ctx, 0, nil)
		done.ETag = strongTag(header.Get("ETag"))
	} else {
		header, done.ETag, err = u.parts(ctx)
	}
	done.ETag, done.Version = strings.Trim(done.ETag, `"`), humanize.Line(header.Get("X-Amz-Version-Id"))
	return done, err
}

// upload is one object on its way.
type upload struct {
	*query
	src  io.ReaderAt
	size int64
	part int64               // bytes of each part but the last
	sums [][sha256.Size]byte // of the parts

	moved func(n int64)
}

// section returns the bytes of a part, from 0 on.
func (u *upload) section(i int) *io.SectionReader {
	off := int64(i) * u.part
	return io.NewSectionReader(u.src, off, min(u.part, u.size-off))
}

// measure computes the digests of the parts and of the whole.
func (u *upload) measure(ctx context.Context) (sum [sha256.Size]byte, err error) {
	whole := sha256.New()
	for i := 0; i == 0 || int64(i)*u.part < u.size; i++ {
		part, section := sha256.New(), u.section(i)
		n, err := io.Copy(io.MultiWriter(whole, part), readerFunc(func(p []byte) (int, error) {
			if ctx.Err() != nil {
				return 0, context.Cause(ctx)
			}
			return section.Read(p)
		}))
		if err != nil {
			return sum, err
		}
		if n != section.Size() {
			return sum, u.refusal(fmt.Errorf("%w: the file became shorter", connectors.ErrMismatch), "")
		}
		u.sums = append(u.sums, [sha256.Size]byte(part.Sum(nil)))
	}
	return [sha256.Size]byte(whole.Sum(nil)), nil
}

// readerFunc is a function as an io.Reader.
type readerFunc func(p []byte) (int, error)

// Read calls the function.
func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// put sends part i, as the whole object if fields is nil. Its digest is signed,
// checked by the endpoint, and compared with the one that it answers.
func (u *upload) put(ctx context.Context, i int, fields url.Values) (http.Header, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stalled := u.refusal(fmt.Errorf("%w: no byte was taken for %v", connectors.ErrUpstream, patience), "")
	watch := time.AfterFunc(patience, func() { cancel(stalled) })
	defer watch.Stop()
	sum := base64.StdEncoding.EncodeToString(u.sums[i][:])
	var sent atomic.Int64 // by the attempt under way
	header, _, err := u.send(ctx, fields, httpconn.Request{
		Method: http.MethodPut,
		Header: http.Header{
			"Content-Type":          {"application/octet-stream"},
			"X-Amz-Content-Sha256":  {hex.EncodeToString(u.sums[i][:])},
			"X-Amz-Checksum-Sha256": {sum},
		},
		Length: u.section(i).Size(),
		Stream: func() io.Reader {
			section := u.section(i)
			u.moved(-sent.Swap(0))
			return readerFunc(func(p []byte) (int, error) {
				watch.Reset(patience)
				n, err := section.Read(p)
				sent.Add(int64(n))
				u.moved(int64(n))
				return n, err
			})
		},
	})
	if err != nil {
		return nil, err
	}
	if got := header.Get("X-Amz-Checksum-Sha256"); got != "" && got != sum {
		return nil, u.refusal(fmt.Errorf("%w: sha256 %s was stored instead of %s", connectors.ErrMismatch, humanize.Line(got), sum), "")
	}
	return header, nil
}

// send sends a request about the object and returns the answer.
func (u *upload) send(ctx context.Context, fields url.Values, r httpconn.Request) (header http.Header, body []byte, err error) {
	err = u.retry(func(region string) error {
		r.URL = u.url(u.ref.Key, "", region)
		if fields != nil {
			r.URL += "?" + fields.Encode()
		}
		body, header, err = u.fetch(ctx, r, region, maxReason)
		return err
	})
	return header, body, err
}

// created is the answer to the beginning of an upload in parts.
type created struct {
	XMLName xml.Name `xml:"InitiateMultipartUploadResult"`
	ID      string   `xml:"UploadId"`
}

// parts sends the object in parts and has them put together. What fails leaves
// no parts behind.
func (u *upload) parts(ctx context.Context) (header http.Header, etag string, err error) {
	_, body, err := u.send(ctx, url.Values{"uploads": {""}}, httpconn.Request{
		Method: http.MethodPost,
		Header: http.Header{"Content-Type": {"application/octet-stream"}, "X-Amz-Checksum-Algorithm": {"SHA256"}},
	})
	if err != nil {
		return nil, "", err
	}
	var begun created
	if err := xml.Unmarshal(body, &begun); err != nil || begun.ID == "" || len(begun.ID) > 4096 {
		return nil, "", u.upstream("an upload in parts has no id")
	}
	id := url.Values{"uploadId": {begun.ID}}
	tags := make([]string, len(u.sums))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i := range u.sums {
		group.Go(func() error {
			if gctx.Err() != nil {
				return context.Cause(gctx)
			}
			header, err := u.put(gctx, i, url.Values{"partNumber": {strconv.Itoa(i + 1)}, "uploadId": {begun.ID}})
			if err != nil {
				return err
			}
			if tags[i] = strongTag(header.Get("ETag")); tags[i] == "" {
				return u.upstream("part %d has no entity tag", i+1)
			}
			return nil
		})
	}
	if err = group.Wait(); err == nil {
		header, etag, err = u.complete(ctx, id, tags)
	}
	if err != nil {
		err = errors.Join(err, u.abort(ctx, id))
	}
	return header, etag, err
}

// completion is the request that puts the parts together.
type completion struct {
	XMLName xml.Name        `xml:"CompleteMultipartUpload"`
	Parts   []completedPart `xml:"Part"`
}

type completedPart struct {
	Number int    `xml:"PartNumber"`
	ETag   string `xml:"ETag"`
	SHA256 string `xml:"ChecksumSHA256"`
}

// completed is the answer to it. It begins before all is done, so an error may
// come with the status 200.
type completed struct {
	XMLName xml.Name `xml:"CompleteMultipartUploadResult"`
	ETag    string   `xml:"ETag"`
	SHA256  string   `xml:"ChecksumSHA256"`
}

// complete has the parts put together, and compares the checksum of their
// checksums where it is answered.
func (u *upload) complete(ctx context.Context, id url.Values, tags []string) (http.Header, string, error) {
	var list completion
	sums := sha256.New()
	for i, sum := range u.sums {
		list.Parts = append(list.Parts, completedPart{Number: i + 1, ETag: tags[i], SHA256: base64.StdEncoding.EncodeToString(sum[:])})
		sums.Write(sum[:])
	}
	text, err := xml.Marshal(list)
	if err != nil {
		return nil, "", err
	}
	payload := sha256.Sum256(text)
	header, body, err := u.send(ctx, id, httpconn.Request{
		Method: http.MethodPost, Body: text,
		Header: http.Header{"Content-Type": {"application/xml"}, "X-Amz-Content-Sha256": {hex.EncodeToString(payload[:])}},
	})
	if err != nil {
		return nil, "", err
	}
	var done completed
	if xml.Unmarshal(body, &done) != nil {
		why := parseReason(bytes.NewReader(body))
		return nil, "", u.upstream("the parts were not put together: %s: %s", humanize.Line(why.Code), humanize.Line(why.Message))
	}
	want := fmt.Sprintf("%s-%d", base64.StdEncoding.EncodeToString(sums.Sum(nil)), len(u.sums))
	if done.SHA256 != "" && done.SHA256 != want {
		return nil, "", u.refusal(fmt.Errorf("%w: checksum %s was stored instead of %s", connectors.ErrMismatch, humanize.Line(done.SHA256), want), "")
	}
	return header, strongTag(done.ETag), nil
}

// abort has the parts of an upload dropped.
func (u *upload) abort(ctx context.Context, id url.Values) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), parting)
	defer cancel()
	_, _, err := u.send(ctx, id, httpconn.Request{Method: http.MethodDelete})
	if errors.Is(err, connectors.ErrNotFound) {
		return nil // the endpoint has dropped them itself
	}
	if err != nil {
		return fmt.Errorf("parts were left behind: %w", err)
	}
	return nil
}
