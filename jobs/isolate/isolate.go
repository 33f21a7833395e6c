package isolate

import (
	"errors"
	"fmt"
	"strings"
)

// Verb is the hidden argument that makes a program the launcher; see Enter.
const Verb = "__isolate"

// Errors of this package.
var (
	// ErrUnavailable says that the system can't give the isolation that was asked for.
	ErrUnavailable = errors.New("isolation is not available")
	// ErrMode says that a mode is none.
	ErrMode = errors.New("unknown isolation")
)

// Mode is what a user asks for.
type Mode string

// Modes.
const (
	Auto      Mode = "auto"      // the best that the system has without more ado; none with a warning
	Require   Mode = "require"   // as Auto, but never none
	None      Mode = "none"      // the command runs as any other of this user
	Landlock  Mode = "landlock"  // Landlock or nothing runs
	Namespace Mode = "namespace" // a private mount view or nothing runs
)

// Modes lists all modes, for messages.
func Modes() []Mode { return []Mode{Auto, Require, None, Landlock, Namespace} }

// ParseMode reads a mode; "" is Auto.
func ParseMode(s string) (Mode, error) {
	if s == "" {
		return Auto, nil
	}
	for _, m := range Modes() {
		if s == string(m) {
			return m, nil
		}
	}
	return "", fmt.Errorf("%w %q: use auto, require, none, landlock or namespace", ErrMode, s)
}

// Plan is which walls a command gets.
type Plan struct {
	UID      bool `json:"uid"`      // a user of its own; needs View
	View     bool `json:"view"`     // a private mount view; in a user namespace unless UID
	Landlock bool `json:"landlock"` // with every restriction the kernel knows
}

// String names the walls: "none", "landlock", "uid+namespace+landlock".
func (p Plan) String() string {
	var walls []string
	if p.UID {
		walls = append(walls, "uid")
	}
	if p.View {
		walls = append(walls, "namespace")
	}
	if p.Landlock {
		walls = append(walls, "landlock")
	}
	if len(walls) == 0 {
		return "none"
	}
	return strings.Join(walls, "+")
}

// Confines tells whether there is any wall.
func (p Plan) Confines() bool { return p != Plan{} }

// Spec is what the command may reach. All paths are absolute. Devices that
// programs can't do without, GPUs' too, are always there.
type Spec struct {
	Plan Plan `json:"plan"`

	WorkDir string `json:"work_dir"`           // to read, write and execute
	Socket  string `json:"socket,omitempty"`   // the job's bridge; "": none
	TempDir string `json:"temp_dir,omitempty"` // as WorkDir, and TMPDIR; in a view /tmp as well; "": none

	// ReadOnly may be read and executed besides SystemPaths, ReadWrite is as
	// WorkDir. What is not there is an error.
	ReadOnly  []string `json:"read_only,omitempty"`
	ReadWrite []string `json:"read_write,omitempty"`
	// Hidden is what must not be had though it lies in what may be read: the
	// repository. WorkDir, Socket and TempDir may lie in it.
	Hidden []string `json:"hidden,omitempty"`
	// WorkAt are paths at which the work directory shows too. It needs View.
	WorkAt []string `json:"work_at,omitempty"`

	// UID and GID are whom the command runs as, Groups its other groups. They
	// count with Plan.UID only.
	UID    int   `json:"uid,omitempty"`
	GID    int   `json:"gid,omitempty"`
	Groups []int `json:"groups,omitempty"`

	HideNetwork bool   `json:"hide_network,omitempty"` // nothing but a loopback of its own; needs View
	TCP         *Ports `json:"tcp,omitempty"`          // nil: any; needs Landlock ABI 4
	Limits      Limits `json:"limits"`
}

// Ports are the TCP ports that a command may use.
type Ports struct {
	Connect []uint16 `json:"connect,omitempty"`
	Bind    []uint16 `json:"bind,omitempty"`
}

// Limits are resource limits of each process of the command; 0 leaves the
// limit as it is. Core dumps are always off: they hold what the process holds.
type Limits struct {
	OpenFiles    uint64 `json:"open_files,omitempty"`
	AddressSpace uint64 `json:"address_space,omitempty"` // bytes
	Processes    uint64 `json:"processes,omitempty"`     // of the whole user: use it with UID
	FileSize     uint64 `json:"file_size,omitempty"`     // bytes of one file
}

// Error says at which step a command could not be isolated. The command did not
// run.
type Error struct {
	Step string // what was being done, with the path
	Err  error
}

// Error returns "isolate: step: why".
func (e *Error) Error() string { return "isolate: " + e.Step + ": " + e.Err.Error() }

// Unwrap returns why.
func (e *Error) Unwrap() error { return e.Err }
