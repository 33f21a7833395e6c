package rpc

import (
	"context"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/dag"
)

// prefix is where the commands are.
const prefix = "/api/v0/"

// maxQuery bounds a query: bytes.
const maxQuery = 16 << 10

// Config is what commands work with. Everything but Memory and Logger is required.
type Config struct {
	Client *control.Client // the node's own API
	Store  *blockstore.Disk
	Memory *dag.Budget // of imports; nil: no bound
	Token  string      // that clients show as "Authorization: Bearer TOKEN"
	Logger *slog.Logger
}

// Server is the handler of the API. It is safe for concurrent use.
type Server struct {
	cfg      Config
	commands map[string]command
}

// New returns the handler. It starts nothing.
func New(c Config) (*Server, error) {
	if len(c.Token) < 16 {
		return nil, errors.New("rpc: the token has less than 16 characters")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg: c, commands: commands()}, nil
}

// command is one row of the table.
type command struct {
	options map[string]string // by name: values that are served, separated by spaces; "" is any
	args    int               // how many arguments there are; -1: one or more, anyArgs: any number
	run     func(ctx context.Context, s *Server, c *call) error
}

// common are options that say how an answer is to look, and that every command
// takes.
func common() []string {
	return []string{"arg", "encoding", "enc", "stream-channels", "timeout", "quiet", "q", "quieter", "silent", "human", "verbose"}
}

// ServeHTTP serves one command.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{w: w, r: r}
	if err := s.serve(r.Context(), c); err != nil {
		c.fail(err)
	}
}

// serve lets a request in, looks at it and runs it.
func (s *Server) serve(ctx context.Context, c *call) error {
	if err := s.admit(c.r); err != nil {
		return err
	}
	name, ok := strings.CutPrefix(c.r.URL.Path, prefix)
	cmd, known := s.commands[strings.TrimSuffix(name, "/")]
	if !ok || !known {
		return refused(http.StatusNotFound, "there is no command %.100q here: see docs/gateway.md for those that are served", c.r.URL.Path)
	}
	if len(c.r.URL.RawQuery) > maxQuery {
		return refused(http.StatusBadRequest, "the query has more than %d bytes", maxQuery)
	}
	var err error
	if c.query, err = url.ParseQuery(c.r.URL.RawQuery); err != nil {
		return refused(http.StatusBadRequest, "query: %v", err)
	}
	if err := cmd.check(c.query); err != nil {
		return err
	}
	return cmd.run(ctx, s, c)
}

// admit tells whether a request may be served: a POST with the token that no
// browser sends for a page.
func (s *Server) admit(r *http.Request) error {
	for _, name := range []string{"Origin", "Referer", "Sec-Fetch-Site"} {
		if r.Header.Get(name) != "" {
			return refused(http.StatusForbidden, "requests of web pages are not served (%s)", name)
		}
	}
	if r.Method != http.MethodPost {
		return refused(http.StatusMethodNotAllowed, "method %.20q: commands are sent with POST", r.Method)
	}
	kind, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(kind, "Bearer") || subtle.ConstantTimeCompare([]byte(strings.TrimSpace(token)), []byte(s.cfg.Token)) != 1 {
		return refused(http.StatusForbidden, "the token is missing or wrong: send \"Authorization: Bearer\" and what rpc.token in the node's repository holds")
	}
	return nil
}

// check compares a query with what the command takes.
func (cmd command) check(q url.Values) error {
	for name, values := range q {
		if slices.Contains(common(), name) {
			continue
		}
		served, known := cmd.options[name]
		if !known {
			return refused(http.StatusBadRequest, "option %.60q is not served here", name)
		}
		if len(values) > 1 {
			return refused(http.StatusBadRequest, "option %q is given twice", name)
		}
		if on, err := strconv.ParseBool(values[0]); err == nil && len(values[0]) > 1 && strings.Contains(served, strconv.FormatBool(on)) {
			values[0] = strconv.FormatBool(on) // Python's True, as Kubo takes it
		}
		if served != "" && !slices.Contains(strings.Fields(served), values[0]) {
			return refused(http.StatusBadRequest, "option %s=%.60q is not served here: it can be %s", name, values[0], strings.Join(strings.Fields(served), ", "))
		}
	}
	if e := q.Get("encoding") + q.Get("enc"); e != "" && e != "json" {
		return refused(http.StatusBadRequest, "encoding %.60q: answers are json", e)
	}
	switch n := len(q["arg"]); {
	case cmd.args >= 0 && n != cmd.args:
		return refused(http.StatusBadRequest, "%d arguments, expected %d", n, cmd.args)
	case cmd.args == -1 && n == 0:
		return refused(http.StatusBadRequest, "argument \"arg\" is missing")
	}
	return nil
}
