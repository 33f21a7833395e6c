package isolate

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if code, ours := Enter(os.Args); ours {
		os.Exit(code)
	}
	goleak.VerifyTestMain(m)
}
