package node

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/hypha-node/hypha-node/api/hub"
)

// listenHub listens for the clients of the hub façade. It is an error when the
// hub that the façade asks is the façade.
func (n *Node) listenHub(ctx context.Context) (net.Listener, error) {
	var conf net.ListenConfig
	l, err := conf.Listen(ctx, "tcp", n.cfg.Hub)
	if err != nil {
		return nil, fmt.Errorf("hub: %w", err)
	}
	if hub.IsSelf(n.cfg.HF.Endpoint, l.Addr()) {
		if err := l.Close(); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("hub: hf_endpoint %s is the address of this node's own hub: start the daemon without HF_ENDPOINT, or set it to the hub that is to be asked", n.cfg.HF.Endpoint)
	}
	if !hub.IsLoopback(l.Addr()) {
		n.log.Warn("the hub is open to other machines: whoever reaches it may read what everybody may have", slog.String("address", l.Addr().String()))
	}
	return l, nil
}

// hubServer returns the server of the façade.
func (n *Node) hubServer(ctx context.Context) *http.Server {
	return &http.Server{
		Handler:           n.hub,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
}
