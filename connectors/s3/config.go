package s3

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
)

// DefaultAlias is what a reference without an alias means.
const DefaultAlias = "default"

// defaultRegion is where a request goes that says nothing: Amazon answers it
// with the region of the bucket.
const defaultRegion = "us-east-1"

// Where credentials come from, as Endpoint.Credentials says it.
const (
	Auto   = ""       // the keys that are set here, else Env, else Shared, else None
	Env    = "env"    // AWS_ACCESS_KEY_ID and its like
	Shared = "shared" // the files of Amazon's tools, ~/.aws/credentials and ~/.aws/config
	None   = "none"   // requests are not signed: public buckets
)

// Endpoint is one place that speaks S3, and who asks there. The zero value is
// Amazon's, with the credentials that its own tools would use.
type Endpoint struct {
	URL       string // without a path; "" means Amazon's, by region
	Region    string // "" means us-east-1
	PathStyle *bool  // the bucket is the first segment of the path, not of the host name; nil: where URL is set

	AccessKey    string            // with SecretKey, instead of Credentials
	SecretKey    connectors.Secret // of AccessKey
	SessionToken connectors.Secret // of temporary keys; "" if they are not
	Credentials  string            // one of the constants above
	Profile      string            // of the shared files; "" means AWS_PROFILE, else "default"

	Buckets []string // jobs may use these only; none: all that the credentials allow
}

// Config says which endpoints there are.
type Config struct {
	Endpoints map[string]Endpoint // by alias
	Ambient   Endpoint            // DefaultAlias for the operator's own commands when Endpoints lacks it
	Keys      Keys                // of the environment
	Client    *httpconn.Client    // fetches; required
}

// Keys are credentials.
type Keys struct {
	Access          string
	Secret, Session connectors.Secret
}

// ConfigFromEnv reads the variables that Amazon's own tools read: the keys
// AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN; AWS_REGION or
// AWS_DEFAULT_REGION, and AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, for the
// ambient endpoint. lookup is os.LookupEnv. Client stays nil.
func ConfigFromEnv(lookup func(string) (string, bool)) Config {
	first := func(names ...string) string {
		for _, name := range names {
			if value, _ := lookup(name); strings.TrimSpace(value) != "" {
				return strings.TrimSpace(value)
			}
		}
		return ""
	}
	return Config{
		Ambient: Endpoint{
			URL:    strings.TrimRight(first("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), "/"),
			Region: first("AWS_REGION", "AWS_DEFAULT_REGION"),
		},
		Keys: Keys{
			Access:  first("AWS_ACCESS_KEY_ID"),
			Secret:  connectors.Secret(first("AWS_SECRET_ACCESS_KEY")),
			Session: connectors.Secret(first("AWS_SESSION_TOKEN")),
		},
	}
}

// Check returns what is wrong with an endpoint, with the name of its key in the
// configuration.
func (e Endpoint) Check() error {
	if e.URL != "" {
		u, err := url.Parse(e.URL)
		switch {
		case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
			return errors.New("endpoint: is no URL, as in https://minio.example:9000")
		case strings.Trim(u.Path, "/") != "", u.RawQuery != "", u.Fragment != "", u.User != nil:
			return errors.New("endpoint: has more than a scheme, a host and a port")
		}
	}
	if e.Region != "" && !connectors.IsRegion(e.Region) {
		return fmt.Errorf("region: %q is no name of a region", e.Region)
	}
	if (e.AccessKey == "") != (e.SecretKey == "") {
		return errors.New("access_key and secret_key belong together")
	}
	switch e.Credentials {
	case Auto:
	case Env, Shared, None:
		if e.AccessKey != "" {
			return fmt.Errorf("credentials: %q and access_key exclude each other", e.Credentials)
		}
	default:
		return fmt.Errorf("credentials: %q is none of env, shared, none", e.Credentials)
	}
	for _, b := range e.Buckets {
		if !connectors.IsBucket(b) {
			return fmt.Errorf("buckets: %q is no bucket name", b)
		}
	}
	return nil
}

// pathStyle tells whether the bucket is a segment of the path.
func (e Endpoint) pathStyle() bool {
	if e.PathStyle != nil {
		return *e.PathStyle
	}
	return e.URL != ""
}
