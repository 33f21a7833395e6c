package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/api/gateway"
	"github.com/hypha-node/hypha-node/api/hub"
	"github.com/hypha-node/hypha-node/api/rpc"
	"github.com/hypha-node/hypha-node/connectors/ipfs"
	"github.com/hypha-node/hypha-node/dag"
	"github.com/hypha-node/hypha-node/internal/atomicfile"
)

// listenHub listens for the clients of the hub façade. It is an error when the
// hub that the façade asks is the façade.
func (n *Node) listenHub(ctx context.Context) (net.Listener, error) {
	l, err := n.listenTCP(ctx, "hub", n.cfg.Hub)
	if err != nil {
		return nil, err
	}
	if hub.IsSelf(n.cfg.HF.Endpoint, l.Addr()) {
		if err := l.Close(); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("hub: hf_endpoint %s is the address of this node's own hub: start the daemon without HF_ENDPOINT, or set it to the hub that is to be asked", n.cfg.HF.Endpoint)
	}
	return l, nil
}

// listenTCP listens for the clients of a façade, and warns when those of other
// machines reach it.
func (n *Node) listenTCP(ctx context.Context, facade, address string) (net.Listener, error) {
	var conf net.ListenConfig
	l, err := conf.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", facade, err)
	}
	if !hub.IsLoopback(l.Addr()) {
		n.log.Warn("a façade is open to other machines: whoever reaches it may read what everybody may have",
			slog.String("facade", facade), slog.String("address", l.Addr().String()))
	}
	return l, nil
}

// webServer returns the server of a façade.
func (n *Node) webServer(ctx context.Context, h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(n.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
}

// facade is a service of its own on TCP.
type facade struct {
	handler  http.Handler
	listener net.Listener
}

// openGateway makes the gateway.
func (n *Node) openGateway(blocks *ipfs.Connector) (err error) {
	c := gateway.Config{Store: n.store, Served: n.served, Hosts: n.cfg.GatewayHosts}
	if n.cfg.GatewayFetch {
		c.Fetch = blocks.Getter
	}
	n.gateway, err = gateway.New(c)
	return err
}

// openRPC makes Kubo's API.
func (n *Node) openRPC(memory *dag.Budget) error {
	token, err := loadToken(n.cfg.Repo)
	if err != nil {
		return err
	}
	n.rpc, err = rpc.New(rpc.Config{Client: control.NewLocal(n.control), Store: n.store, Memory: memory, Token: token, Logger: n.log})
	return err
}

// tokenName is the file in the repository that holds the token of Kubo's API.
const tokenName = "rpc.token"

// loadToken returns the token of a repository, making it when there is none. One
// that others can read is refused.
func loadToken(repo string) (_ string, err error) {
	root, err := os.OpenRoot(repo)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	info, err := root.Stat(tokenName)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return makeToken(root)
	case err != nil:
		return "", err
	case info.Mode().Perm()&0o077 != 0:
		return "", fmt.Errorf("%s in %s can be read by others: chmod 600 it, or remove it for a new one", tokenName, repo)
	}
	text, err := root.ReadFile(tokenName)
	return strings.TrimSpace(string(text)), err
}

// makeToken makes the token, durably.
func makeToken(root *os.Root) (string, error) {
	token := rand.Text()
	f, err := atomicfile.Create(root, tokenName, atomicfile.Options{Mode: 0o600, Sync: true})
	if err != nil {
		return "", err
	}
	if _, err := f.WriteString(token + "\n"); err != nil {
		return "", errors.Join(err, f.Abort())
	}
	return token, f.Commit()
}

// listenFacades listens for the clients of all façades. id gets their addresses.
func (n *Node) listenFacades(ctx context.Context, id *control.Identity) (all []facade, err error) {
	defer func() {
		if err != nil {
			for _, f := range all {
				err = errors.Join(err, f.listener.Close())
			}
		}
	}()
	add := func(h http.Handler, l net.Listener, url *string) {
		all = append(all, facade{handler: h, listener: l})
		*url = hub.URL(l.Addr())
	}
	if n.hub != nil {
		l, err := n.listenHub(ctx)
		if err != nil {
			return all, err
		}
		add(n.hub, l, &id.Hub)
	}
	if n.gateway != nil {
		l, err := n.listenTCP(ctx, "gateway", n.cfg.Gateway)
		if err != nil {
			return all, err
		}
		add(n.gateway, l, &id.Gateway)
	}
	if n.cfg.Metrics != "" {
		h, err := n.metricsHandler()
		if err != nil {
			return all, err
		}
		l, err := n.listenMetrics(ctx)
		if err != nil {
			return all, err
		}
		add(h, l, &id.Metrics)
		id.Metrics += "/metrics"
	}
	if n.rpc != nil {
		l, err := n.listenTCP(ctx, "rpc", n.cfg.RPC)
		if err != nil {
			return all, err
		}
		add(n.rpc, l, &id.RPC)
	}
	return all, nil
}
