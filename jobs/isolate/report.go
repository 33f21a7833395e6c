package isolate

import (
	"fmt"
	"strings"
)

// Finding says whether the machine has something, and why not.
type Finding struct {
	OK     bool   `json:"ok"`
	Reason string `json:"reason,omitempty"` // why not; or what is missing though it is OK
}

// Report is what this process can do for isolation on this machine.
type Report struct {
	Kernel      string  `json:"kernel"`       // system and release
	LandlockABI int     `json:"landlock_abi"` // 0: none
	Landlock    Finding `json:"landlock"`
	Namespace   Finding `json:"namespace"`
	UID         Finding `json:"uid"` // a user per job
}

// Plan returns the walls for a mode, and what the machine lacks for more.
// withUID says that there are users to give to jobs. The error wraps
// ErrUnavailable.
func (r Report) Plan(m Mode, withUID bool) (p Plan, lacks string, err error) {
	if m == None {
		return Plan{}, "", nil
	}
	var missing []string
	lack := func(wall string, f Finding) {
		if !f.OK {
			missing = append(missing, wall+": "+f.Reason)
		}
	}
	p.Landlock = r.Landlock.OK
	lack("landlock", r.Landlock)
	if withUID {
		lack("uid", r.UID)
		p.UID = r.UID.OK
		p.View = p.UID
	}
	// A view costs what applications may not expect; it is for those who ask,
	// or where there is nothing else.
	if m == Namespace || !p.Confines() {
		lack("namespace", r.Namespace)
		p.View = p.UID || r.Namespace.OK
	}
	lacks = strings.Join(missing, "; ")
	lost := m == Landlock && !p.Landlock || m == Namespace && !p.View || m == Require && !p.Confines()
	if lost {
		return Plan{}, lacks, fmt.Errorf("%w: %s is asked for: %s", ErrUnavailable, m, lacks)
	}
	return p, lacks, nil
}
