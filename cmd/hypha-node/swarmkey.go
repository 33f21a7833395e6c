package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hypha-node/hypha-node/bitswap"
)

// swarmKeyCmd is `swarm-key`.
type swarmKeyCmd struct{}

// swarmKeyMade is what `swarm-key` prints.
type swarmKeyMade struct {
	Path        string `json:"path"`
	Fingerprint string `json:"fingerprint"` // 16 hex digits, the same on all nodes of the network
}

// Help says what to do with it.
func (*swarmKeyCmd) Help() string {
	return `Nodes with the same swarm.key are a private network: they talk to each other,
over TCP, and to nobody else. Copy the file to the other nodes, Kubo's too, and
start the daemons again. Without the file the node is in the open network; with
HYPHA_FORCE_PNET=1 the daemon then refuses to start.`
}

// Run makes a key.
func (*swarmKeyCmd) Run(a *app) error {
	if err := os.MkdirAll(a.cli.Repo, 0o700); err != nil {
		return err
	}
	path := filepath.Join(a.cli.Repo, "swarm.key")
	key, err := bitswap.NewSwarmKey(a.cli.Repo)
	if errors.Is(err, fs.ErrExist) {
		return &failure{
			code: exitFailed, err: fmt.Errorf("%s is there already", path),
			hint: "it is kept: to leave its network for a new one, move it away and start again",
		}
	}
	if err != nil {
		return err
	}
	made := swarmKeyMade{Path: path, Fingerprint: key.Fingerprint()}
	return a.out.print(made, "%s: key %s; copy the file to the other nodes, keep it from everybody else", escapeLines(path), made.Fingerprint)
}

// checkNetwork tells which network the node is in.
func (a *app) checkNetwork() check {
	const name = "network"
	key, err := bitswap.LoadSwarmKey(a.cli.Repo)
	switch {
	case errors.Is(err, bitswap.ErrNoSwarmKey) && forcedPrivate():
		return failed(name, fmt.Errorf("HYPHA_FORCE_PNET is set, and there is %w", bitswap.ErrNoSwarmKey), hintSwarmKey)
	case errors.Is(err, bitswap.ErrNoSwarmKey):
		return check{Name: name, Verdict: checkOK, Detail: "open: there is no swarm.key"}
	case err != nil:
		return failed(name, err, "copy the file again from a node of the network")
	}
	c := check{Name: name, Verdict: checkOK, Detail: "private, key " + key.Fingerprint()}
	if st, err := os.Stat(filepath.Join(a.cli.Repo, "swarm.key")); err == nil && st.Mode().Perm()&0o077 != 0 {
		c.Verdict, c.Hint = checkWarn, "chmod 600 "+filepath.Join(a.cli.Repo, "swarm.key")
		c.Detail += fmt.Sprintf(", which other users may read (mode %#o)", st.Mode().Perm())
	}
	return c
}

// hintSwarmKey is what to do about a missing key.
const hintSwarmKey = "copy swarm.key from a node of the network into the repository, or make one: `hypha-node swarm-key`"

// forcedPrivate tells whether the node may be in a private network only.
func forcedPrivate() bool { return os.Getenv("HYPHA_FORCE_PNET") == "1" }
