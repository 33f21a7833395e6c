package s3

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"strings"
	"sync"

	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/signer"

	"github.com/hypha-node/hypha-node/connectors"
)

// emptyPayload is the sha256 of a request without a body, which S3 wants to be
// signed: hex.
const emptyPayload = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// maxRegions is how many buckets' regions an account remembers.
const maxRegions = 1024

// account is an endpoint with its credentials. It is safe for concurrent use.
type account struct {
	Endpoint
	alias      string
	configured bool // by the operator: jobs may use it
	keys       *credentials.Credentials

	mu      sync.Mutex
	regions map[string]string // bucket => region, as learnt from answers
}

// newAccount returns an account; env are the keys of the environment.
func newAccount(alias string, e Endpoint, env Keys, configured bool) *account {
	e.URL = strings.TrimRight(e.URL, "/")
	if e.Region == "" {
		e.Region = defaultRegion
	}
	return &account{Endpoint: e, alias: alias, configured: configured, keys: keysOf(e, env), regions: map[string]string{}}
}

// keysOf returns where the credentials of an endpoint come from.
func keysOf(e Endpoint, env Keys) *credentials.Credentials {
	switch {
	case e.AccessKey != "":
		return credentials.NewStaticV4(e.AccessKey, e.SecretKey.Reveal(), e.SessionToken.Reveal())
	case e.Credentials == None:
		return credentials.New(anonymous{})
	case e.Credentials == Env, e.Credentials == Auto && env.Access != "" && env.Secret != "":
		return credentials.NewStaticV4(env.Access, env.Secret.Reveal(), env.Session.Reveal())
	}
	return credentials.NewFileAWSCredentials("", e.Profile)
}

// anonymous provides no credentials.
type anonymous struct{}

// RetrieveWithCredContext returns none.
func (anonymous) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	return credentials.Value{SignerType: credentials.SignatureAnonymous}, nil
}

// Retrieve returns none.
func (a anonymous) Retrieve() (credentials.Value, error) { return a.RetrieveWithCredContext(nil) }

// IsExpired returns false: there is nothing that could expire.
func (anonymous) IsExpired() bool { return false }

// value returns the keys to sign with; without an access key, there are none
// and nothing is signed. It reads files when they are asked for the first time,
// and when they have expired.
func (a *account) value() (credentials.Value, error) {
	v, err := a.keys.GetWithContext(nil)
	switch {
	case err == nil && (v.AccessKeyID == "" || v.SecretAccessKey == "") && a.Credentials != Auto && a.Credentials != None:
		err = errors.New("there are none")
	case errors.Is(err, fs.ErrNotExist) && a.Credentials == Auto:
		return credentials.Value{}, nil
	}
	if err != nil {
		return v, &connectors.Error{
			Op: "sign", Source: "s3 endpoint " + a.alias,
			Err:  fmt.Errorf("%w: credentials: %w", connectors.ErrUnauthorized, err),
			Hint: a.hint(),
		}
	}
	return v, nil
}

// scope identifies the credentials without telling them, "" if there are none.
func (a *account) scope() (string, error) {
	v, err := a.value()
	if err != nil || v.AccessKeyID == "" {
		return "", err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "s3\x00%s\x00%s\x00%s", a.URL, v.AccessKeyID, v.SecretAccessKey))
	return hex.EncodeToString(sum[:16]), nil
}

// sign signs a request for a region.
func (a *account) sign(r *http.Request, region string) error {
	v, err := a.value()
	if err != nil || v.AccessKeyID == "" {
		return err
	}
	if r.Header.Get("X-Amz-Content-Sha256") == "" {
		r.Header.Set("X-Amz-Content-Sha256", emptyPayload)
	}
	// The header and the URL are shared with the copy: both are changed in place.
	signer.SignV4(*r, v.AccessKeyID, v.SecretAccessKey, v.SessionToken, region)
	return nil
}

// refused has the credentials read again before the next request: the endpoint
// says that these are no longer any.
func (a *account) refused() { a.keys.Expire() }

// regionOf returns the region of a bucket: as learnt, else as asked for, else
// the endpoint's.
func (a *account) regionOf(bucket, asked string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if learnt := a.regions[bucket]; learnt != "" {
		return learnt
	}
	if asked != "" {
		return asked
	}
	return a.Region
}

// learn notes the region of a bucket.
func (a *account) learn(bucket, region string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.regions) >= maxRegions {
		clear(a.regions)
	}
	a.regions[bucket] = region
}

// base returns the URL of a bucket in a region, without a slash at the end.
func (a *account) base(bucket, region string) string {
	if a.URL == "" {
		domain := "amazonaws.com"
		if strings.HasPrefix(region, "cn-") {
			domain += ".cn"
		}
		host := "s3." + region + "." + domain
		// A bucket's dots would be labels that the certificate does not have.
		if a.pathStyle() || strings.Contains(bucket, ".") {
			return "https://" + host + "/" + bucket
		}
		return "https://" + bucket + "." + host
	}
	if a.pathStyle() {
		return a.URL + "/" + bucket
	}
	scheme, host, _ := strings.Cut(a.URL, "://")
	return scheme + "://" + bucket + "." + host
}

// hint says what to do about credentials.
func (a *account) hint() string {
	if !a.configured {
		return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or configure [s3." + a.alias + "]"
	}
	return "check the keys of [s3." + a.alias + "] in the configuration"
}
