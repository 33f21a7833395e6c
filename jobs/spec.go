package jobs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/connectors"
)

// Spec says what job to create. The zero value is a good one: a work directory
// and a bridge for whoever asked. It is JSON in requests, in files and in the
// job's record, which holds its secrets too.
type Spec struct {
	ID string `json:"id,omitempty"` // at most 64 of [A-Za-z0-9._-], beginning with a letter or a digit; "": random
	// WorkDir is the absolute path of an existing directory that becomes the
	// work directory and outlives the job. "" makes a private one that does not.
	WorkDir string `json:"work_dir,omitempty"`

	Scope   string        `json:"scope,omitempty"`   // job id that the job shares with those on other nodes; "": ID
	Channel string        `json:"channel,omitempty"` // within the scope; "": the default
	Peers   []string      `json:"peers,omitempty"`   // who may send to it; none: everybody who names the scope
	Secret  string        `json:"secret,omitempty"`  // that senders must know; "": none
	Limits  bridge.Limits `json:"limits,omitzero"`
	// Controller is where the job's reports go: an http:// or https:// URL, or
	// "unix:" and the absolute path of a socket. "": answered by the node.
	Controller string `json:"controller,omitempty"`

	// Command is what the supervisor runs. nil: somebody else does.
	Command *Program `json:"command,omitempty"`
	// Inputs are references by the directory, below the work directory, that
	// they are fetched into before the command starts: one, or a list of them.
	Inputs map[string]json.RawMessage `json:"inputs,omitempty"`
	// Outputs are patterns of files and directories that are stored when the
	// command has ended: path.Match on each segment, ** for any number of them.
	Outputs  []string `json:"outputs,omitempty"`
	Announce bool     `json:"announce,omitempty"` // tell the network of the outputs
	Keep     Keep     `json:"keep,omitempty"`     // "": never
	After    []string `json:"after,omitempty"`    // ids of jobs that must have finished first

	// Mark is a secret that is in the environment of the processes of a job
	// without a command, as NewMark returns it: confined ones are known by it.
	Mark string `json:"mark,omitempty"`

	// Held ends the job when its holder goes away; see Supervisor.Hold.
	Held bool `json:"held,omitempty"`
}

// Program is a command to run, and how.
type Program struct {
	Executor string            `json:"executor,omitempty"` // template of the configuration that Args are added to
	Args     []string          `json:"args,omitempty"`     // program and arguments, with Command.Args' placeholders
	Env      map[string]string `json:"env,omitempty"`      // in addition to the node's own
	Dir      string            `json:"dir,omitempty"`      // absolute, or relative to the work directory; "": that
	Config   json.RawMessage   `json:"config,omitempty"`   // handed on in JOB_JSON
	Grace    Duration          `json:"grace,omitempty"`    // between SIGTERM and SIGKILL; 0: 5 s
	Timeout  Duration          `json:"timeout,omitempty"`  // of the run; 0: none

	Isolation Isolation `json:"isolation,omitzero"`
}

// Keep says when the work directory of an ended job stays.
type Keep string

// Values of Keep.
const (
	KeepNever  Keep = "never"
	KeepFailed Keep = "failed" // also of a stopped one
	KeepAlways Keep = "always"
)

// Keeps tells whether the directory of a job that ended in a state stays.
func (k Keep) Keeps(end State) bool {
	return k == KeepAlways || k == KeepFailed && end != StateFinished
}

// Duration is a time.Duration whose JSON is a text such as "1h30m", or a number
// of seconds.
type Duration time.Duration

// MarshalJSON returns the text.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// UnmarshalJSON takes a text or a number of seconds.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		got, err := time.ParseDuration(v)
		if err != nil {
			return fmt.Errorf("%q is no duration, as in \"1h30m\"", clip(v))
		}
		*d = Duration(got)
		return nil
	case float64:
		const most = 1e9 // seconds: 31 years
		if v >= 0 && v <= most {
			*d = Duration(v * float64(time.Second))
			return nil
		}
	}
	return errors.New("is no duration, as in \"1h30m\" or 90")
}

// ErrSpec says that a job can't be what its spec says.
var ErrSpec = errors.New("invalid job spec")

// MaxSpec bounds the JSON of a Spec, in bytes: it has to fit into a record. A
// larger configuration belongs into a file.
const MaxSpec = 128 << 10

// ParseSpec reads the JSON of a Spec. Unlike requests, files may hold no field
// that nobody knows: a setting that is ignored is a trap.
func ParseSpec(text []byte) (Spec, error) {
	var s Spec
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		return Spec{}, fmt.Errorf("%w: %w", ErrSpec, plainJSON(err))
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Spec{}, fmt.Errorf("%w: more than one JSON document", ErrSpec)
	}
	if err := s.check(); err != nil {
		return Spec{}, err
	}
	return s, nil
}

// plainJSON says what is wrong without the names of Go's types.
func plainJSON(err error) error {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Errorf("field %q is no %s", clip(wrong.Field), wrong.Type.Kind())
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the JSON ends too early")
	}
	return errors.New(clipText(err.Error()))
}

// encode returns the JSON of a value as records have it: < and & stay.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// scope returns the job id that offers name.
func (s *Spec) scope() string {
	if s.Scope != "" {
		return s.Scope
	}
	return s.ID
}

// input is one reference to stage.
type input struct {
	dir string // below the work directory
	ref connectors.Ref
}

// AddInput adds a reference to those that are fetched into a directory.
func (s *Spec) AddInput(dir string, ref json.RawMessage) {
	if s.Inputs == nil {
		s.Inputs = map[string]json.RawMessage{}
	}
	list := append(splitList(s.Inputs[dir]), ref)
	if len(list) == 1 {
		s.Inputs[dir] = ref
		return
	}
	s.Inputs[dir] = slices.Concat([]byte("["), bytes.Join(asBytes(list), []byte(",")), []byte("]"))
}

// asBytes returns the same texts.
func asBytes(list []json.RawMessage) [][]byte {
	texts := make([][]byte, len(list))
	for i, raw := range list {
		texts[i] = raw
	}
	return texts
}

// splitList returns the elements of a JSON array, or what is none as the only one.
func splitList(raw json.RawMessage) []json.RawMessage {
	var list []json.RawMessage
	switch trimmed := bytes.TrimSpace(raw); {
	case len(trimmed) == 0:
		return nil
	case trimmed[0] == '[' && json.Unmarshal(trimmed, &list) == nil:
		return list
	}
	return []json.RawMessage{raw}
}

// inputs returns the references in the order of their directories.
func (s *Spec) inputs() ([]input, error) {
	var list []input
	for _, dir := range sortedKeys(s.Inputs) {
		refs := splitList(s.Inputs[dir])
		if len(refs) == 0 {
			return nil, fmt.Errorf("input %q: no reference", clip(dir))
		}
		for _, raw := range refs {
			in := input{dir: dir}
			if err := json.Unmarshal(raw, &in.ref); err != nil {
				return nil, fmt.Errorf("input %q: %w", clip(dir), err)
			}
			list = append(list, in)
		}
	}
	if len(list) > maxInputs {
		return nil, fmt.Errorf("more than %d inputs", maxInputs)
	}
	return list, nil
}
