package hf

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/hypha-node/hypha-node/blockstore/memo"
	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
)

// DefaultEndpoint is the public Hub.
const DefaultEndpoint = "https://huggingface.co"

// How the bytes of a large file come from a hub.
const (
	TransportAuto = "auto" // over HTTP; over Xet from where that fails
	TransportHTTP = "http" // over HTTP alone
	TransportXet  = "xet"  // over Xet, where the hub has the file there; over HTTP from where that fails
)

// IsTransport tells whether a name is one of those.
func IsTransport(name string) bool {
	return name == TransportAuto || name == TransportHTTP || name == TransportXet
}

// Config says which hub to use, and as whom. The zero value needs a Client.
type Config struct {
	Endpoint  string            // base URL without a trailing slash; "" means DefaultEndpoint
	Token     connectors.Secret // for references without a token of their own; "" means anonymous
	Transport string            // how large files come: one of the Transport constants; "" means TransportAuto
	Offline   bool              // ask nobody: what is not remembered or stored is refused with a clear error
	Client    *httpconn.Client  // fetches; required
	Memo      *memo.Table       // remembers commits and listings; nil: nothing
}

// ConfigFromEnv reads the variables that Hugging Face's own tools read, in
// their order: HF_ENDPOINT; the token from HF_TOKEN, HUGGING_FACE_HUB_TOKEN or
// the file HF_TOKEN_PATH (default $HF_HOME/token, HF_HOME by default
// $XDG_CACHE_HOME/huggingface or ~/.cache/huggingface), unless
// HF_HUB_DISABLE_IMPLICIT_TOKEN is set; HF_HUB_DISABLE_XET; HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE.
// lookup is os.LookupEnv, home the user's home directory. Client stays nil.
func ConfigFromEnv(lookup func(string) (string, bool), home string) Config {
	get := func(name string) string {
		value, _ := lookup(name)
		return strings.TrimSpace(value)
	}
	cfg := Config{
		Endpoint: strings.TrimRight(get("HF_ENDPOINT"), "/"),
		Offline:  isTrue(get("HF_HUB_OFFLINE")) || isTrue(get("TRANSFORMERS_OFFLINE")),
	}
	if isTrue(get("HF_HUB_DISABLE_XET")) {
		cfg.Transport = TransportHTTP
	}
	if isTrue(get("HF_HUB_DISABLE_IMPLICIT_TOKEN")) {
		return cfg
	}
	for _, name := range []string{"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"} {
		if token := get(name); token != "" {
			cfg.Token = connectors.Secret(token)
			return cfg
		}
	}
	cfg.Token = readToken(tokenPath(get, home))
	return cfg
}

// tokenPath returns where the token file is, "" if no directory is known.
func tokenPath(get func(string) string, home string) string {
	if p := get("HF_TOKEN_PATH"); p != "" {
		return expandHome(p, home)
	}
	if p := homeDir(get, home); p != "" {
		return filepath.Join(p, "token")
	}
	return ""
}

// homeDir returns where Hugging Face's tools keep everything, "" if no directory is
// known.
func homeDir(get func(string) string, home string) string {
	if p := get("HF_HOME"); p != "" {
		return expandHome(p, home)
	}
	if p := get("XDG_CACHE_HOME"); p != "" {
		return filepath.Join(expandHome(p, home), "huggingface")
	}
	if home == "" {
		return ""
	}
	return filepath.Join(home, ".cache", "huggingface")
}

// expandHome returns a path whose ~ is the home directory.
func expandHome(p, home string) string {
	if rest, ok := strings.CutPrefix(p, "~/"); ok {
		return filepath.Join(home, rest)
	}
	return p
}

// readToken returns the token of a file; a file that is absent, unreadable or
// too large to be one gives none, as with Hugging Face's tools.
func readToken(path string) connectors.Secret {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > 8192 {
		return ""
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return connectors.Secret(strings.TrimSpace(string(text)))
}

// isTrue reads a boolean variable as Hugging Face's tools do.
func isTrue(s string) bool {
	switch strings.ToUpper(s) {
	case "1", "ON", "YES", "TRUE":
		return true
	}
	return false
}
