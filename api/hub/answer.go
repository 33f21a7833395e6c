package hub

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// answer is what the upstream said, as far as clients get to see it.
type answer struct {
	Status int               `json:"status"`
	Header map[string]string `json:"header,omitempty"`
	Body   []byte            `json:"-"`
	Time   int64             `json:"time"` // of Unix, seconds
}

// passed lists the header fields that an answer keeps.
func passed() []string {
	return []string{
		"Content-Type", "Etag", "Link", "Ratelimit", "Ratelimit-Policy", "Retry-After", "Www-Authenticate",
		"X-Error-Code", "X-Error-Message", "X-Linked-Etag", "X-Linked-Size", "X-Repo-Commit", "X-Request-Id", "X-Total-Count", xetField,
	}
}

// newAnswer returns an answer without its body.
func newAnswer(resp *http.Response, now time.Time) *answer {
	a := &answer{Status: resp.StatusCode, Header: map[string]string{}, Time: now.Unix()}
	for _, name := range passed() {
		if value := strings.Join(resp.Header.Values(name), ", "); value != "" {
			a.Header[name] = value
		}
	}
	return a
}

// pack returns the answer as a record, a line of JSON and the body by gzip; nil if
// it can't be kept.
func (a *answer) pack() []byte {
	text, err := json.Marshal(a)
	if err != nil {
		return nil
	}
	b := bytes.NewBuffer(append(text, '\n'))
	z := gzip.NewWriter(b)
	if _, err := z.Write(a.Body); err != nil {
		return nil
	}
	if err := z.Close(); err != nil {
		return nil
	}
	return b.Bytes()
}

// unpack reads a record; nil if it is none.
func unpack(record []byte) *answer {
	var a answer
	text, packed, ok := bytes.Cut(record, []byte{'\n'})
	if !ok || json.Unmarshal(text, &a) != nil || a.Status < 200 || a.Status > 599 {
		return nil
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil
	}
	if a.Body, err = io.ReadAll(io.LimitReader(z, maxAnswer)); err != nil {
		return nil
	}
	return &a
}

// failed tells whether another try may bring another answer: nothing that is
// known already is put aside for it.
func (a *answer) failed() bool {
	return a.Status == http.StatusTooManyRequests || a.Status == http.StatusRequestTimeout || a.Status >= http.StatusInternalServerError
}

// ok tells whether the answer is what was asked for.
func (a *answer) ok() bool { return a.Status < http.StatusBadRequest }

// write sends the answer; base is how the client reaches this server, for links.
func (a *answer) write(w http.ResponseWriter, r *http.Request, base string) {
	h := w.Header()
	for name, value := range a.Header {
		switch name {
		case xetField:
			continue // see withoutXet
		case "Link":
			if value = ownLinks(value, base); value == "" {
				continue
			}
		case "Etag", "X-Linked-Etag", "X-Linked-Size":
			if !a.ok() {
				continue
			}
		}
		h.Set(name, value)
	}
	if !a.ok() && len(a.Body) == 0 { // it was asked by HEAD
		h.Del("Content-Type")
		refuse(w, r, a.Status, a.Header["X-Error-Code"], orText(a.Header["X-Error-Message"], http.StatusText(a.Status)))
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(a.Body)))
	w.WriteHeader(a.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(a.Body) //nolint:errcheck // a client that has gone has its reasons
	}
}

// refuse answers with an error in the Hub's form.
func refuse(w http.ResponseWriter, r *http.Request, status int, code, message string) {
	body, err := json.Marshal(map[string]string{"error": message})
	if err != nil {
		body = []byte("{}")
	}
	if code != "" {
		w.Header().Set("X-Error-Code", code)
	}
	w.Header().Set("X-Error-Message", clean(message))
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) //nolint:errcheck // see answer.write
	}
}
