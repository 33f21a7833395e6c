package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/alecthomas/kong"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/internal/humanize"
	"github.com/hypha-node/hypha-node/internal/safename"
	"github.com/hypha-node/hypha-node/jobs"
)

// jobFlags are what every command has that makes a job. Flags win over the spec
// file.
type jobFlags struct {
	File       string   `short:"f" name:"file" aliases:"job-file" placeholder:"SPEC" help:"Read the job's spec from a TOML or JSON file; - is the standard input. Flags win over it."`
	ID         string   `placeholder:"ID" help:"Id of the job. Default: random."`
	WorkDir    string   `placeholder:"DIR" help:"An existing directory, which outlives the job. Default: a private one, which does not."`
	Scope      string   `placeholder:"ID" help:"Job id that the job shares with those on other nodes. Default: its own id."`
	Channel    string   `placeholder:"NAME" help:"Channel within the scope that the job receives on."`
	Peer       []string `placeholder:"PEER" help:"Let this peer send to the job; repeatable. Default: every peer that names its scope."`
	SecretFile string   `placeholder:"FILE" help:"Senders must know what this file holds."`
	Controller string   `placeholder:"URL" help:"Where the job's reports go: http://… or unix:/path. Default: the node answers them."`
	Limit      []string `placeholder:"NAME=VALUE" sep:"none" help:"Bound what the job uses; repeatable: bytes, files, inbound_bytes, inbox_items, transfers, rate."`
	Ref        []string `placeholder:"REF=PATH" sep:"none" help:"Fetch a reference into PATH of the work directory first; repeatable."`
	Output     []string `placeholder:"PATTERN" sep:"none" help:"Store what matches below the work directory when the command has ended; repeatable."`
	After      []string `placeholder:"ID" help:"Wait until this job has finished; repeatable."`
	Keep       keepFlag `placeholder:"WHEN" help:"Keep the job and its work directory: never, failed or always. Without =WHEN: always."`
}

// keepFlag is --keep or --keep=WHEN.
type keepFlag string

// IsBool lets the flag stand alone.
func (keepFlag) IsBool() bool { return true }

// Decode reads the value, if there is one.
func (k *keepFlag) Decode(ctx *kong.DecodeContext) error {
	*k = keepFlag(jobs.KeepAlways)
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		return nil
	}
	value := fmt.Sprint(ctx.Scan.Pop().Value)
	switch *k = keepFlag(value); jobs.Keep(*k) {
	case jobs.KeepNever, jobs.KeepFailed, jobs.KeepAlways:
		return nil
	}
	return fmt.Errorf("%q is none of never, failed, always", value)
}

// commandFlags are what commands have that run one.
type commandFlags struct {
	Executor   string        `placeholder:"NAME" help:"Run an executor of the configuration; the arguments are added to its own."`
	Config     string        `placeholder:"JSON" help:"The job's configuration, handed to the command in JOB_JSON: JSON, or the name of a file of it."`
	Env        []string      `placeholder:"NAME=VALUE" sep:"none" help:"Set a variable of the command; repeatable."`
	Grace      time.Duration `placeholder:"TIME" help:"Between SIGTERM and SIGKILL when the run is cancelled. Default: 5s."`
	RunTimeout time.Duration `placeholder:"TIME" help:"End the command after this time. Default: never."`
	isolationFlags
	Command []string `arg:"" optional:"" passthrough:"" help:"Command and arguments, after --. {WORK_DIR}, {SOCKET_PATH}, {JOB_JSON}, {JOB_ID}, {JOB_FILE} are filled in."`
}

// spec returns the spec of the file with the flags over it.
func (f *jobFlags) spec(stdin io.Reader) (jobs.Spec, error) {
	var s jobs.Spec
	if f.File != "" {
		text, dir, err := readSpec(f.File, stdin)
		if err != nil {
			return s, err
		}
		if s, err = parseSpec(text, dir); err != nil {
			return s, &failure{code: exitUsage, err: fmt.Errorf("%s: %w", f.File, err)}
		}
	}
	over := func(into *string, flag string) {
		if flag != "" {
			*into = flag
		}
	}
	overList := func(into *[]string, flag []string) {
		if flag != nil {
			*into = flag
		}
	}
	over(&s.ID, f.ID)
	over(&s.Scope, f.Scope)
	over(&s.Channel, f.Channel)
	over(&s.Controller, f.Controller)
	overList(&s.Peers, f.Peer)
	overList(&s.Outputs, f.Output)
	overList(&s.After, f.After)
	if f.Keep != "" {
		s.Keep = jobs.Keep(f.Keep)
	}
	var err error
	if f.WorkDir != "" {
		if s.WorkDir, err = filepath.Abs(f.WorkDir); err != nil {
			return s, err
		}
	}
	if f.SecretFile != "" {
		if s.Secret, err = readSecret(f.SecretFile); err != nil {
			return s, err
		}
	}
	if err := f.limits(&s.Limits); err != nil {
		return s, err
	}
	return s, f.inputs(&s)
}

// readSpec returns the text of a spec file and the directory that its paths are
// relative to.
func readSpec(name string, stdin io.Reader) (text []byte, dir string, err error) {
	if name == "-" {
		text, err = io.ReadAll(io.LimitReader(stdin, jobs.MaxSpec+1))
	} else {
		text, err = readSmall(name, jobs.MaxSpec)
		dir = filepath.Dir(name)
	}
	if err == nil && len(text) > jobs.MaxSpec {
		err = &failure{code: exitUsage, err: fmt.Errorf("%s: longer than %d bytes", name, jobs.MaxSpec)}
	}
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	return text, dir, err
}

// readSmall reads a file of which more than most bytes are not wanted: it may
// return one byte more.
func readSmall(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	return text, errors.Join(err, f.Close())
}

// readSecret reads a secret from a file; one line end behind it is not part of it.
func readSecret(name string) (string, error) {
	const most = 1024 // bytes, as package jobs has it
	text, err := readSmall(name, most+2)
	if err != nil {
		return "", err
	}
	secret := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if secret == "" || len(secret) > most {
		return "", &failure{code: exitUsage, err: fmt.Errorf("%s: a secret has 1 to %d bytes", name, most)}
	}
	return secret, nil
}

// parseSpec reads a spec file, TOML or JSON. Beside the fields of jobs.Spec it
// may have secret_file. Relative paths are relative to dir.
func parseSpec(text []byte, dir string) (jobs.Spec, error) {
	if trimmed := bytes.TrimSpace(text); len(trimmed) == 0 || trimmed[0] != '{' {
		var err error
		if text, err = tomlToJSON(text); err != nil {
			return jobs.Spec{}, err
		}
	}
	var head struct {
		SecretFile *string `json:"secret_file"`
	}
	fields := map[string]json.RawMessage{}
	if json.Unmarshal(text, &head) == nil && json.Unmarshal(text, &fields) == nil && head.SecretFile != nil {
		delete(fields, "secret_file")
		var err error
		if text, err = json.Marshal(fields); err != nil {
			return jobs.Spec{}, err
		}
	}
	s, err := jobs.ParseSpec(text)
	if err != nil {
		return s, err
	}
	absolute := func(name string) string {
		if name == "" || filepath.IsAbs(name) {
			return name
		}
		return filepath.Join(dir, name)
	}
	s.WorkDir = absolute(s.WorkDir)
	if head.SecretFile != nil {
		s.Secret, err = readSecret(absolute(*head.SecretFile))
	}
	return s, err
}

// tomlToJSON returns a TOML document as JSON.
func tomlToJSON(text []byte) ([]byte, error) {
	doc := map[string]any{}
	if _, err := toml.Decode(string(text), &doc); err != nil {
		if pe, ok := errors.AsType[toml.ParseError](err); ok {
			return nil, fmt.Errorf("line %d: %s", pe.Position.Line, pe.Message)
		}
		return nil, err
	}
	return json.Marshal(doc)
}

// limits reads --limit.
func (f *jobFlags) limits(into *bridge.Limits) error {
	for _, text := range f.Limit {
		name, value, ok := strings.Cut(text, "=")
		at, size := limitOf(into, name)
		if !ok || at == nil {
			return &failure{
				code: exitUsage, err: fmt.Errorf("--limit %s: no such limit", text),
				hint: "write NAME=VALUE; names are bytes, files, inbound_bytes, inbox_items, transfers, rate",
			}
		}
		var err error
		if size && value != "-1" {
			*at, err = humanize.ParseBytes(value)
		} else {
			*at, err = strconv.ParseInt(value, 10, 64)
		}
		if err != nil {
			return &failure{code: exitUsage, err: fmt.Errorf("--limit %s: %w", text, err), hint: "-1 is no limit"}
		}
	}
	return nil
}

// limitOf returns where a limit is kept and whether it is a size.
func limitOf(l *bridge.Limits, name string) (at *int64, size bool) {
	switch name {
	case "bytes":
		return &l.Bytes, true
	case "inbound_bytes":
		return &l.InboundBytes, true
	case "rate":
		return &l.Rate, true
	case "files":
		return &l.Files, false
	case "inbox_items":
		return &l.InboxItems, false
	case "transfers":
		return &l.Transfers, false
	}
	return nil, false
}

// inputs reads --ref. The path is what follows the last =; a reference without =
// goes where jobs' own fetches go.
func (f *jobFlags) inputs(s *jobs.Spec) error {
	for _, text := range f.Ref {
		name, dir := text, bridge.DefaultDir
		if i := strings.LastIndexByte(text, '='); i >= 0 && !strings.HasPrefix(strings.TrimSpace(text), "{") {
			name, dir = text[:i], strings.Trim(strings.TrimPrefix(text[i+1:], "./"), "/")
		}
		if err := safename.Path(dir); err != nil {
			return &failure{code: exitUsage, err: fmt.Errorf("--ref %s: %w", text, err), hint: "write REF=PATH with PATH below the work directory"}
		}
		ref, err := reference(name)
		if err != nil {
			return err
		}
		s.AddInput(dir, ref)
	}
	return nil
}

// program returns the command of the spec with the flags over it.
func (f *commandFlags) program(s jobs.Spec) (jobs.Program, error) {
	var p jobs.Program
	if s.Command != nil {
		p = *s.Command
	}
	args := f.Command
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) > 0 {
		p.Args = args
	}
	if f.Executor != "" {
		p.Executor = f.Executor
	}
	if p.Executor == "" && len(p.Args) == 0 {
		return p, errUsage("no command: give one after --, an --executor, or a spec that has one")
	}
	if f.Grace != 0 {
		p.Grace = jobs.Duration(f.Grace)
	}
	if f.RunTimeout != 0 {
		p.Timeout = jobs.Duration(f.RunTimeout)
	}
	if err := f.apply(&p.Isolation); err != nil {
		return p, err
	}
	for _, entry := range f.Env {
		name, value, ok := strings.Cut(entry, "=")
		if !ok || name == "" {
			return p, errUsage("--env " + entry + ": write NAME=VALUE")
		}
		if p.Env == nil {
			p.Env = map[string]string{}
		}
		p.Env[name] = value
	}
	if f.Config == "" {
		return p, nil
	}
	var err error
	p.Config, err = configuration(f.Config)
	return p, err
}

// configuration returns the JSON of --config: the text itself, or that of a file.
func configuration(text string) (json.RawMessage, error) {
	raw, from := []byte(text), "--config"
	if trimmed := strings.TrimSpace(text); trimmed == "" || !strings.ContainsRune(`{["`, rune(trimmed[0])) {
		const most = 64 << 20 // bytes: JOB_FILE has what the environment can't
		var err error
		if raw, err = readSmall(text, most); err != nil {
			return nil, err
		}
		if from = text; len(raw) > most {
			return nil, errUsage(fmt.Sprintf("%s: longer than %d bytes", from, most))
		}
	}
	if !json.Valid(raw) {
		return nil, errUsage(from + " is no valid JSON")
	}
	return raw, nil
}
