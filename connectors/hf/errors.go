package hf

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/internal/humanize"
)

// maxReason is how much of an error's body is looked at: bytes.
const maxReason = 4 << 10

// explain tells the Hub's refusals apart. The code decides, not the status: a
// gated repository answers 401 or 403, a private one hides behind the same 401
// as one that does not exist, and a bad token has a third kind of 401. Nil
// leaves the answer to its status.
func (q *query) explain(resp *http.Response) *connectors.Error {
	if !strings.HasPrefix(resp.Request.URL.String(), q.base+"/") {
		// The storage behind the hub has its own reasons.
		return q.fail(fmt.Errorf("%w: the hub's storage answered %s", connectors.ErrUpstream, strings.ToLower(http.StatusText(resp.StatusCode))))
	}
	reason := reasonOf(resp)
	lower := strings.ToLower(reason)
	anonymous := len(q.secret) == 0
	switch code := resp.Header.Get("X-Error-Code"); {
	case code == "GatedRepo":
		return q.gated(anonymous)
	case code == "RepoNotFound", code == "RepositoryNotFound":
		return q.refused(connectors.ErrNotFound, "there is no such repository", "")
	case code == "RevisionNotFound":
		return q.refused(connectors.ErrNotFound, "there is no revision "+q.revisionOrMain(), "")
	case code == "EntryNotFound":
		return q.refused(connectors.ErrNotFound, "there is no such file", "")
	case resp.StatusCode == http.StatusUnauthorized && strings.Contains(lower, "invalid credentials"):
		return q.refused(connectors.ErrUnauthorized, "the token was not accepted", "create a token at "+q.base+"/settings/tokens and set HF_TOKEN")
	case resp.StatusCode == http.StatusUnauthorized && anonymous:
		return q.refused(connectors.ErrUnauthorized, "the repository does not exist or is private", "set HF_TOKEN if it is private")
	case resp.StatusCode == http.StatusUnauthorized:
		return q.refused(connectors.ErrUnauthorized, "the repository does not exist, or the token may not read it", "check the name and the token")
	case resp.StatusCode == http.StatusForbidden && strings.Contains(lower, "disabled"):
		return q.refused(connectors.ErrUnauthorized, "access to the repository is disabled by the hub", "")
	case resp.StatusCode == http.StatusForbidden:
		return q.refused(connectors.ErrUnauthorized, orText(reason, "access denied"), "")
	case resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusGone:
		return q.refused(connectors.ErrNotFound, orText(reason, "there is no such file, revision or repository"), "")
	}
	return nil
}

// gated returns the error of a repository whose owner wants to be asked first.
func (q *query) gated(anonymous bool) *connectors.Error {
	page := q.base + repoPrefix(q.ref.RepoType) + q.ref.Repository
	hint := "request access at " + page
	if anonymous {
		hint += ", then set HF_TOKEN"
	}
	return q.refused(connectors.ErrUnauthorized, "the repository is gated", hint)
}

// noEntry returns the error of a named file that does not exist.
func (q *query) noEntry(name string) error {
	return q.refused(connectors.ErrNotFound, "there is no file "+name+" at "+q.revisionOrMain(), "")
}

// refused returns an error of a kind, with the next step for the user.
func (q *query) refused(kind error, text, hint string) *connectors.Error {
	err := q.fail(fmt.Errorf("%w: %s", kind, text))
	err.Hint = hint
	return err
}

// upstream returns the error of a hub whose answer makes no sense.
func (q *query) upstream(format string, args ...any) error {
	return q.fail(fmt.Errorf("%w: %w", connectors.ErrUpstream, fmt.Errorf(format, args...)))
}

// fail returns an Error about the reference.
func (q *query) fail(err error) *connectors.Error {
	named := q.ref
	named.Filenames, named.Allow = nil, nil
	return &connectors.Error{Op: "resolve", Source: named.String(), Err: err}
}

// reasonOf returns what the hub says of its refusal, as one clean line.
func reasonOf(resp *http.Response) string {
	if text := humanize.Line(resp.Header.Get("X-Error-Message")); text != "" {
		return text
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxReason))
	if err != nil {
		return ""
	}
	var answer struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &answer) == nil && answer.Error != "" {
		return humanize.Line(answer.Error)
	}
	if text := resp.Header.Get("Content-Type"); strings.HasPrefix(text, "text/plain") || text == "" {
		return humanize.Line(string(body))
	}
	return "" // a page for people
}

// orText returns s, or other when it is empty.
func orText(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// notPointer refuses a content that is a pointer of git LFS: a server that has
// the pointers but not the files would have them loaded as models.
func (q *query) notPointer(path string) func(head []byte) error {
	return func(head []byte) error {
		if !bytes.HasPrefix(head, []byte(connectors.PointerStart)) {
			return nil
		}
		return q.refused(connectors.ErrPointer, path+": the server lacks the file itself", "ask its owner to upload the file with git-lfs installed")
	}
}
