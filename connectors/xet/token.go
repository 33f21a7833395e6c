package xet

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
)

const (
	// early is how long before its end a token is no longer used.
	early = time.Minute
	// maxTokens is how many tokens are remembered.
	maxTokens = 256
	// maxToken is the most that a hub's answer with a token may have: bytes.
	maxToken = 64 << 10
)

// token lets read one repository at one commit.
type token struct {
	secret connectors.Secret
	cas    string // base URL of the storage, without a trailing slash
	until  time.Time
}

// header returns what a request to the storage carries.
func (t token) header() http.Header {
	return http.Header{"Authorization": {"Bearer " + t.secret.Reveal()}}
}

// tokens remembers tokens by where they are had, and with what credential.
type tokens struct {
	mu   sync.Mutex
	kept map[string]token
}

// get returns a token that is good for a while, if there is one.
func (t *tokens) get(key string, now time.Time) (token, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	got, ok := t.kept[key]
	return got, ok && now.Add(early).Before(got.until)
}

// put remembers a token; where there are too many, one that ends soon goes.
func (t *tokens) put(key string, got token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kept == nil {
		t.kept = make(map[string]token)
	}
	if len(t.kept) >= maxTokens {
		first := ""
		for k, other := range t.kept {
			if first == "" || other.until.Before(t.kept[first].until) {
				first = k
			}
		}
		delete(t.kept, first)
	}
	t.kept[key] = got
}

// drop forgets a token that was refused, unless there is a newer one.
func (t *tokens) drop(key string, refused token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kept[key] == refused {
		delete(t.kept, key)
	}
}

// token returns a token for a file, from the hub if none is remembered.
func (f *file) token(ctx context.Context) (token, error) {
	if got, ok := f.client.tokens.get(f.key, f.client.now()); ok {
		return got, nil
	}
	body, _, err := f.client.http.FetchOnce(ctx, httpconn.Request{
		URL: f.TokenURL, Header: http.Header{"Accept": {"application/json"}}, Secret: f.Secret, Operator: f.Operator,
	}, maxToken, f.Explain)
	if err != nil {
		return token{}, err
	}
	got, err := parseToken(body, f.TokenURL, f.client.now())
	if err != nil {
		return token{}, f.upstream("open", err)
	}
	f.client.tokens.put(f.key, got)
	return got, nil
}

// parseToken reads a hub's answer. A hub that is asked over https must not send
// its token anywhere without.
func parseToken(body []byte, from string, now time.Time) (token, error) {
	var answer struct {
		Secret string `json:"accessToken"`
		CAS    string `json:"casUrl"`
		Until  int64  `json:"exp"` // Unix seconds
	}
	if json.Unmarshal(body, &answer) != nil || answer.Secret == "" || len(answer.Secret) > maxToken {
		return token{}, fmt.Errorf("%w: the hub gave no token", errPlan)
	}
	if strings.ContainsFunc(answer.Secret, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		return token{}, fmt.Errorf("%w: the hub's token is no token", errPlan)
	}
	cas, err := url.Parse(strings.TrimRight(answer.CAS, "/"))
	secure := strings.HasPrefix(from, "https:")
	if err != nil || cas.Host == "" || cas.User != nil || cas.RawQuery != "" || cas.Fragment != "" ||
		cas.Scheme != "https" && (secure || cas.Scheme != "http") {
		return token{}, fmt.Errorf("%w: the hub names no storage", errPlan)
	}
	until := time.Unix(answer.Until, 0)
	if answer.Until <= 0 || answer.Until > 1<<40 || !now.Before(until) {
		return token{}, fmt.Errorf("%w: the hub's token has expired", errPlan)
	}
	return token{secret: connectors.Secret(answer.Secret), cas: cas.String(), until: until}, nil
}

// keyOf returns under what the tokens of a file are remembered.
func keyOf(f File) string {
	return cmp.Or(f.Secret.Get("Authorization"), "-") + " " + fmt.Sprint(f.Operator) + " " + f.TokenURL
}
