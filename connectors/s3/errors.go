package s3

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/internal/humanize"
)

// maxReason is how much of an error's body is looked at: bytes. A signature
// that does not match is answered with what was signed, in two forms.
const maxReason = 64 << 10

// reason is the body of an error.
type reason struct {
	XMLName xml.Name `xml:"Error"`
	Code    string   `xml:"Code"`
	Message string   `xml:"Message"`
	Region  string   `xml:"Region"`
}

// parseReason reads the body of an error; what is none has no code.
func parseReason(r io.Reader) reason {
	var got reason
	if xml.NewDecoder(io.LimitReader(r, maxReason)).Decode(&got) != nil {
		return reason{}
	}
	return got
}

// movedError says that a bucket is in another region.
type movedError struct{ region string }

// Error names the region.
func (e *movedError) Error() string { return "the bucket is in the region " + e.region }

// explain tells S3's refusals apart by their code. Nil leaves the answer to its
// status. A HEAD has no body and so no code.
func (q *query) explain(resp *http.Response, asked string) *connectors.Error {
	why := parseReason(resp.Body)
	region := resp.Header.Get("X-Amz-Bucket-Region")
	if region == "" {
		region = why.Region
	}
	if resp.StatusCode < http.StatusInternalServerError && region != asked && connectors.IsRegion(region) {
		return q.refusal(fmt.Errorf("%w: %w", connectors.ErrUpstream, &movedError{region}), "set region in the reference or in the configuration")
	}
	switch why.Code {
	case "NoSuchKey":
		return q.refusal(fmt.Errorf("%w: there is no such object", connectors.ErrNotFound), "")
	case "NoSuchBucket":
		return q.refusal(fmt.Errorf("%w: there is no such bucket", connectors.ErrNotFound), "")
	case "NoSuchVersion":
		return q.refusal(fmt.Errorf("%w: there is no such version", connectors.ErrNotFound), "")
	case "AccessDenied", "AllAccessDisabled", "AccountProblem":
		return q.refusal(fmt.Errorf("%w: access denied", connectors.ErrUnauthorized), q.account.hint())
	case "SignatureDoesNotMatch":
		return q.refusal(fmt.Errorf("%w: the signature does not match", connectors.ErrUnauthorized), "the secret key is wrong; "+q.account.hint())
	case "RequestTimeTooSkewed":
		return q.refusal(fmt.Errorf("%w: the clocks differ too much", connectors.ErrUnauthorized), "set this machine's clock")
	case "InvalidAccessKeyId", "ExpiredToken", "InvalidToken", "XAdminUserNotFound": // the last one is versitygw's
		q.account.refused()
		return q.refusal(fmt.Errorf("%w: the access key is not known or has expired", connectors.ErrUnauthorized), q.account.hint())
	case "BadDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch":
		return q.refusal(fmt.Errorf("%w: the bytes that came are not those that were announced", connectors.ErrMismatch), "the file may have changed; try again")
	case "InvalidObjectState":
		return q.refusal(fmt.Errorf("%w: the object is archived", connectors.ErrUnauthorized), "restore it first")
	}
	switch code := resp.StatusCode; {
	case code == http.StatusPreconditionFailed:
		return q.changed()
	case code >= http.StatusMultipleChoices && code < http.StatusBadRequest:
		return q.refusal(fmt.Errorf("%w: the bucket is elsewhere", connectors.ErrUpstream), "set the endpoint and the region of [s3."+q.account.alias+"]")
	case why.Code != "" && (code == http.StatusUnauthorized || code == http.StatusForbidden):
		return q.refusal(fmt.Errorf("%w: %s: %s", connectors.ErrUnauthorized, humanize.Line(why.Code), humanize.Line(why.Message)), q.account.hint())
	case why.Code != "" && code < http.StatusInternalServerError && code != http.StatusTooManyRequests:
		return q.refusal(fmt.Errorf("%w: %s: %s", connectors.ErrUpstream, humanize.Line(why.Code), humanize.Line(why.Message)), "")
	}
	switch resp.StatusCode {
	case http.StatusNotFound, http.StatusGone:
		return q.refusal(connectors.ErrNotFound, "")
	case http.StatusUnauthorized, http.StatusForbidden:
		return q.refusal(connectors.ErrUnauthorized, q.account.hint())
	}
	return nil
}

// changed returns the error of an object that is no longer what it was.
func (q *query) changed() *connectors.Error {
	return q.refusal(fmt.Errorf("%w: %w", connectors.ErrUpstream, connectors.ErrChanged), "fetch it again")
}

// refusal returns an Error about the reference, with the next step for the user.
func (q *query) refusal(err error, hint string) *connectors.Error {
	return &connectors.Error{Op: "resolve", Source: q.ref.String(), Err: err, Hint: hint}
}

// upstream returns the error of a server whose answer makes no sense.
func (q *query) upstream(format string, args ...any) error {
	return q.refusal(fmt.Errorf("%w: %w", connectors.ErrUpstream, fmt.Errorf(format, args...)), "")
}

// retry calls do for the bucket's region, and again if that turns out to be
// another one.
func (q *query) retry(do func(region string) error) error {
	region := q.account.regionOf(q.ref.Bucket, q.ref.Region)
	err := do(region)
	moved, ok := errors.AsType[*movedError](err)
	if !ok || moved.region == region {
		return err
	}
	if err = do(moved.region); err == nil {
		q.account.learn(q.ref.Bucket, moved.region)
	}
	return err
}
