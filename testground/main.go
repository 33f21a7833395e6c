// Command testground is a plan for testground (manifest.toml): each process is
// one instance of a case, as its environment says (TEST_CASE and its like), with its
// node in a process of its own: the same program, called with "node", a directory and
// an address.
package main

import (
	"fmt"
	"os"

	"github.com/testground/sdk-go/run"

	"github.com/hypha-node/hypha-node/testground/plan"
)

func main() {
	if len(os.Args) == 4 && os.Args[1] == plan.NodeCommand {
		if err := plan.RunNode(os.Args[2], os.Args[3], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "node:", err)
			os.Exit(1)
		}
		return
	}
	run.InvokeMap(plan.Cases())
}
