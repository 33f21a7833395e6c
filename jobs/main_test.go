package jobs

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/hypha-node/hypha-node/jobs/isolate"
)

func TestMain(m *testing.M) {
	if code, ours := isolate.Enter(os.Args); ours {
		os.Exit(code)
	}
	goleak.VerifyTestMain(m)
}
