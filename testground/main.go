// Command testground is a plan for testground (manifest.toml): each process is
// one instance of a case, as its environment says (TEST_CASE and its like).
package main

import (
	"github.com/testground/sdk-go/run"

	"github.com/hypha-node/hypha-node/testground/plan"
)

func main() { run.InvokeMap(plan.Cases()) }
