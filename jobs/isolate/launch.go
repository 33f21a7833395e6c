package isolate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// order is what Start tells the launcher.
type order struct {
	Spec  Spec     `json:"spec"`
	Path  string   `json:"path"`
	Args  []string `json:"args"`
	Env   []string `json:"env"`
	Dir   string   `json:"dir"`
	Probe bool     `json:"probe"` // end instead of executing
}

// outcome is what the launcher tells when it failed; nothing says that the
// command runs.
type outcome struct {
	Step  string `json:"step"` // "" : executing the command
	Text  string `json:"text"`
	Errno int    `json:"errno"` // 0: none
}

// outcomeOf describes an error of the launcher.
func outcomeOf(err error) outcome {
	o := outcome{Text: err.Error()}
	if e, ok := errors.AsType[*Error](err); ok {
		o.Step, o.Text = e.Step, e.Err.Error()
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		o.Errno = int(errno)
	}
	return o
}

// error returns the error that text describes; path is the command's.
func (o outcome) error(path string, confined bool) error {
	var err error = syscall.Errno(o.Errno)
	if o.Errno == 0 {
		err = errors.New(o.Text)
	}
	if o.Step != "" {
		return &Error{Step: o.Step, Err: err}
	}
	err = &fs.PathError{Op: "exec", Path: path, Err: err}
	if confined && (errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist)) {
		err = fmt.Errorf("%w (the job is isolated: its program, or the interpreter of it, must be among the readable paths)", err)
	}
	return err
}

// readOutcome reads what the launcher told: nil when the command runs.
func readOutcome(text []byte, path string, confined bool) error {
	if len(text) == 0 {
		return nil
	}
	var o outcome
	if err := json.Unmarshal(text, &o); err != nil {
		return &Error{Step: "start the launcher", Err: fmt.Errorf("it said %q", text)}
	}
	return o.error(path, confined)
}
