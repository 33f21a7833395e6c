package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/bridge/rest"
)

// drain is how long requests may take to notice that the node ends. Together
// with what the parts need to close it stays below 5 s.
const drain = 3 * time.Second

// Run serves the control socket and the jobs' bridges, and takes part in the
// network, until ctx ends; then it returns nil. ready, if not nil, is called
// once when the node can be used, the bridges of earlier runs' jobs too; an
// offline node has no peer id there. Run may be called once, before Close.
func (n *Node) Run(ctx context.Context, ready func(control.Identity)) error {
	l, err := n.listen(ctx)
	if err != nil {
		return err
	}
	id := control.Identity{Version: n.cfg.Version, Repo: n.cfg.Repo}
	facades, err := n.listenFacades(ctx, &id)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	g, ctx := errgroup.WithContext(ctx)
	resumed := make(chan struct{})
	g.Go(func() error { return n.jobs.Serve(ctx, func() { close(resumed) }) })
	g.Go(func() error { return n.store.Tend(ctx) })
	if n.cfg.ScrubRate > 0 {
		g.Go(func() error { return n.scrub(ctx) })
	}
	select {
	case <-resumed: // before that, a new job would be taken for an old one
	case <-ctx.Done(): // Serve has failed, or the node ends
	}
	if n.transfers != nil {
		n.transfers.Receive(n.jobs) // all jobs can be asked
	}
	server := &http.Server{
		Handler:           n.control,
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	rest.Guard(server, n.log, notConfined, refuse)
	serve(ctx, g, server, l)
	for _, f := range facades {
		serve(ctx, g, n.webServer(ctx, f.handler), f.listener)
	}
	if n.exchange != nil {
		g.Go(func() error { return n.exchange.Run(ctx) })
	}
	if ready != nil {
		if n.exchange != nil {
			own := n.exchange.ID()
			id.PeerID, id.Addresses, id.AgentVersion, id.Online = own.PeerID, own.Addresses, own.AgentVersion, true
		}
		ready(id)
	}
	return g.Wait()
}

// serve serves a listener until ctx ends, with which the requests' contexts end,
// too.
func serve(ctx context.Context, g *errgroup.Group, server *http.Server, l net.Listener) {
	g.Go(func() error {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve %s: %w", l.Addr(), err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
		defer cancel()
		if server.Shutdown(patience) == nil {
			return nil
		}
		return server.Close()
	})
}

// listen makes the control socket.
func (n *Node) listen(ctx context.Context) (net.Listener, error) {
	path := SocketPath(n.cfg.Repo, n.cfg.RuntimeDir)
	if dir := filepath.Dir(path); dir != filepath.Clean(n.cfg.Repo) {
		// What is there already is judged by Listen: mode and owner.
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, err
		}
	}
	return rest.Listen(ctx, path)
}
