package node

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/bridge/rest"
	"github.com/hypha-node/hypha-node/jobs"
	"github.com/hypha-node/hypha-node/jobs/isolate"
)

// walls returns the walls around the commands of jobs.
func (n *Node) walls() jobs.Walls {
	w := n.cfg.Walls
	w.Hidden = append(slices.Clone(w.Hidden), n.cfg.Repo)
	return w
}

// notConfined refuses the commands of jobs that are kept in: who may talk to the
// node's own socket can have it read and write any file of its user.
func notConfined(c rest.Caller) error {
	if c.PID == 0 {
		return nil // the system tells no process, or knows no confined ones
	}
	confined, err := c.Look(isolate.Confined)
	if err == nil && confined {
		err = errors.New("it is the command of a job")
	}
	return err
}

// refuse answers who may not use the node's own socket.
func refuse(w http.ResponseWriter, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusForbidden)
	//nolint:errcheck // whether it is read is the client's affair
	_ = json.NewEncoder(w).Encode(control.Error{
		Code: "forbidden_caller", Detail: err.Error(),
		Hint: "an isolated job has its bridge, $SOCKET_PATH; `job run --isolation=none` runs a command that needs the node",
	})
}
