package main

import (
	"os"

	"github.com/hypha-node/hypha-node/jobs/isolate"
)

// launch makes this process a job's command, if that is what it was started
// for: the hidden verb of package isolate. It comes before everything else, so
// that nothing of this program is open or running when the command begins.
func launch() {
	if code, ours := isolate.Enter(os.Args); ours {
		os.Exit(code)
	}
}
