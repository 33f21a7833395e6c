package node

import (
	"log/slog"

	"github.com/libp2p/go-libp2p/gologshim"
)

// JoinLogs has libp2p log to a handler. It concerns the whole process and is
// for programs, before the first Open.
func JoinLogs(h slog.Handler) { gologshim.SetDefaultHandler(h) }
