package jobs

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/hypha-node/hypha-node/jobs/isolate"
)

// heedsName is the variable that makes this program a command which heeds
// SIGTERM. (A shell that waits for a child would do, were it not for signals that
// come while it forks.)
const heedsName = "HYPHA_TEST_HEEDS"

func TestMain(m *testing.M) {
	if code, ours := isolate.Enter(os.Args); ours {
		syscall.Exit(code) // as os.Exit, without the second that it takes under -race
	}
	if os.Getenv(heedsName) != "" {
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM)
		fmt.Println("ready")
		<-signals
		fmt.Println("bye")
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// heeds returns a spec that runs such a command.
func heeds(t *testing.T) Spec {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Spec{Command: &Program{Args: []string{program}, Env: map[string]string{heedsName: "1"}}}
}
