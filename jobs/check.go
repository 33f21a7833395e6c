package jobs

import (
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/internal/safename"
)

// Bounds of a spec's lists and texts.
const (
	maxPeers   = 4096
	maxAfter   = 256
	maxInputs  = 1024
	maxGlobs   = 256
	maxArgs    = 4096
	maxEnv     = 1024
	maxChannel = 64   // bytes
	maxSecret  = 1024 // bytes
	maxURL     = 2048 // bytes
	maxPeerID  = 128  // bytes: twice what ids have
)

// bad returns an ErrSpec.
func bad(text string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrSpec, fmt.Sprintf(text, args...))
}

// check tells whether a job can be what the spec says, as far as its text shows.
func (s *Spec) check() error {
	checks := []func() error{s.checkIDs, s.checkScope, s.checkController, s.checkCommand, s.checkInputs, s.checkOutputs, s.checkSize}
	for _, f := range checks {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Spec) checkIDs() error {
	if s.ID != "" {
		if err := checkID(s.ID); err != nil {
			return err
		}
	}
	if len(s.After) > maxAfter {
		return bad("after: more than %d jobs", maxAfter)
	}
	for i, id := range s.After {
		if err := checkID(id); err != nil {
			return fmt.Errorf("after[%d]: %w", i, err)
		}
		if id == s.ID {
			return bad("after[%d]: the job itself", i)
		}
	}
	return nil
}

func (s *Spec) checkScope() error {
	if s.Scope != "" {
		if err := checkID(s.Scope); err != nil {
			return fmt.Errorf("scope: %w", err)
		}
	}
	if !printable(s.Channel) || len(s.Channel) > maxChannel {
		return bad("channel %q: at most %d printable ASCII characters without spaces", clip(s.Channel), maxChannel)
	}
	if len(s.Peers) > maxPeers {
		return bad("peers: more than %d", maxPeers)
	}
	for i, id := range s.Peers {
		if id == "" || len(id) > maxPeerID || !printable(id) {
			return bad("peers[%d]: %q is no peer id", i, clip(id))
		}
	}
	if len(s.Secret) > maxSecret {
		return bad("secret: longer than %d bytes", maxSecret)
	}
	return nil
}

// printable tells whether text is ASCII without spaces and control characters.
func printable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

func (s *Spec) checkController() error {
	if s.Controller == "" {
		return nil
	}
	_, err := parseEndpoint(s.Controller)
	return err
}

// endpoint is a controller's address.
type endpoint struct {
	socket string // path of a Unix socket; "": TCP
	base   string // URL that routes are appended to
}

// parseEndpoint reads the address of a controller.
func parseEndpoint(text string) (endpoint, error) {
	const form = "is neither an http:// URL nor unix: and the path of a socket"
	if len(text) > maxURL || !utf8.ValidString(text) {
		return endpoint{}, bad("controller %s", form)
	}
	if p, ok := strings.CutPrefix(text, "unix:"); ok {
		if p = strings.TrimPrefix(p, "//"); !filepath.IsAbs(p) || strings.ContainsRune(p, 0) {
			return endpoint{}, bad("controller: the path of a Unix socket must be absolute")
		}
		return endpoint{socket: p, base: "http://controller"}, nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.Opaque != "":
		return endpoint{}, bad("controller %s", form)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return endpoint{}, bad("controller: routes are appended to it, it can have no query and no fragment")
	}
	return endpoint{base: strings.TrimSuffix(u.String(), "/")}, nil
}

// redactEndpoint returns a controller's address without user and password.
func redactEndpoint(address string) string {
	e, err := parseEndpoint(address)
	if err != nil || e.socket == "" {
		return connectors.RedactURL(address)
	}
	return "unix:" + e.socket
}

func (s *Spec) checkCommand() error {
	c := s.Command
	if c == nil {
		return nil
	}
	switch {
	case c.Executor == "" && (len(c.Args) == 0 || c.Args[0] == ""):
		return bad("command: neither args nor an executor")
	case len(c.Args) > maxArgs || len(c.Env) > maxEnv:
		return bad("command: more than %d args or %d variables", maxArgs, maxEnv)
	case c.Grace < 0 || c.Timeout < 0:
		return bad("command: a negative duration")
	case len(c.Config) > 0 && !json.Valid(c.Config):
		return bad("command: config is no valid JSON")
	case strings.ContainsRune(c.Dir, 0):
		return bad("command: dir holds a zero byte")
	}
	if err := c.Isolation.check(); err != nil {
		return err
	}
	for i, arg := range c.Args {
		if strings.ContainsRune(arg, 0) || len(arg) > maxArg {
			return bad("command: args[%d] holds a zero byte or is longer than %d bytes", i, maxArg)
		}
	}
	for name, value := range c.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.ContainsRune(value, 0) || len(name)+len(value) >= maxArg {
			return bad("command: variable %q can't be set", clip(name))
		}
	}
	if c.Dir != "" && !filepath.IsAbs(c.Dir) {
		if err := safename.Path(c.Dir); err != nil {
			return bad("command: dir: %v", err)
		}
	}
	return nil
}

func (s *Spec) checkInputs() error {
	for dir := range s.Inputs {
		if err := checkInside(dir); err != nil {
			return bad("inputs: %v", err)
		}
	}
	if _, err := s.inputs(); err != nil {
		return fmt.Errorf("%w: %w", ErrSpec, err)
	}
	return nil
}

// checkInside refuses what can't be a path of the job below its work directory.
func checkInside(name string) error {
	if err := safename.Path(name); err != nil {
		return err
	}
	if first, _, _ := strings.Cut(name, "/"); strings.EqualFold(first, bridge.Private) {
		return fmt.Errorf("%q is reserved", clip(name))
	}
	return nil
}

func (s *Spec) checkOutputs() error {
	if len(s.Outputs) > maxGlobs {
		return bad("outputs: more than %d patterns", maxGlobs)
	}
	for i, glob := range s.Outputs {
		if err := checkGlob(glob); err != nil {
			return bad("outputs[%d]: %v", i, err)
		}
	}
	if !slices.Contains([]Keep{"", KeepNever, KeepFailed, KeepAlways}, s.Keep) {
		return bad("keep: %q is none of never, failed, always", clip(string(s.Keep)))
	}
	return nil
}

// checkGlob refuses a pattern that could match nothing below a work directory.
func checkGlob(glob string) error {
	if err := checkInside(glob); err != nil {
		return err
	}
	for segment := range strings.SplitSeq(glob, "/") {
		if _, err := path.Match(segment, ""); err != nil {
			return fmt.Errorf("%q: %w", clip(glob), err)
		}
	}
	return nil
}

func (s *Spec) checkSize() error {
	text, err := encode(s)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSpec, plainJSON(err))
	}
	if len(text) > MaxSpec {
		return bad("%d bytes of JSON, at most %d; put a large configuration into a file", len(text), MaxSpec)
	}
	return nil
}
