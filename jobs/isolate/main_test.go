package isolate

import (
	"os"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if code, ours := Enter(os.Args); ours {
		syscall.Exit(code) // as os.Exit, without the second that it takes under -race: GORACE would not get here
	}
	goleak.VerifyTestMain(m)
}
