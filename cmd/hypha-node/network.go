package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/internal/humanize"
	"github.com/hypha-node/hypha-node/node"
)

// daemonCmd is `daemon`.
type daemonCmd struct {
	meeting
	Listen    []string `placeholder:"MULTIADDR" env:"HYPHA_LISTEN" help:"Listen here for peers; repeatable. Default: TCP and QUIC on port 4101 of all interfaces."`
	Bootstrap []string `placeholder:"MULTIADDR" env:"HYPHA_BOOTSTRAP" help:"Enter the network through this peer; repeatable. Default: nobody."`
	Peer      []string `placeholder:"MULTIADDR" env:"HYPHA_PEERS" help:"Keep a connection to this peer; repeatable."`
	HTTPAllow []string `name:"http-allow" placeholder:"CIDR" env:"HYPHA_HTTP_ALLOW" help:"Let jobs fetch from this private network; repeatable."`
	MaxRate   string   `placeholder:"SIZE" env:"HYPHA_MAX_RATE" help:"Fetch at most so many bytes per second over HTTP, in all: 20MiB. Default: no limit."`
	Hub       string   `placeholder:"ADDR" env:"HYPHA_HUB" help:"Serve the Hugging Face Hub's API here, for HF_ENDPOINT; a port alone is one of loopback. Default: nowhere."`
	Gateway   string   `placeholder:"ADDR" env:"HYPHA_GATEWAY" help:"Serve stored content over HTTP here, as an IPFS gateway; a port alone is one of loopback. Default: nowhere."`

	RPC          string   `name:"rpc" placeholder:"ADDR" env:"HYPHA_RPC" help:"Serve a part of Kubo's API here, to clients with the token in rpc.token of the repository; a port alone is one of loopback. Default: nowhere."`
	GatewayFetch bool     `env:"HYPHA_GATEWAY_FETCH" help:"Let the gateway's clients have what is not stored, from peers."`
	GatewayHost  []string `placeholder:"NAME" env:"HYPHA_GATEWAY_HOSTS" help:"Name of the gateway, beside localhost, whose subdomains hold content; repeatable."`

	Scrub      string `placeholder:"SIZE" env:"HYPHA_SCRUB" help:"Read so many bytes per second of what is stored, to find and fetch again what went bad; off: none. Default: 8MiB."`
	ScrubEvery string `placeholder:"TIME" env:"HYPHA_SCRUB_EVERY" help:"Time from the beginning of one such pass to the next. Default: 7d."`

	Offline bool `help:"Serve commands and jobs, take part in no network."`
}

// Run runs the daemon until a signal ends it.
func (c *daemonCmd) Run(ctx context.Context, a *app) error {
	cfg, err := a.nodeConfig()
	if err != nil {
		return err
	}
	s, err := a.settings()
	if err != nil {
		return err
	}
	cfg.Offline, cfg.Listen, cfg.Bootstrap, cfg.Peers = c.Offline, s.Listen, s.Bootstrap, s.Peers
	cfg.Hub = s.hub
	cfg.ScrubRate, cfg.ScrubEvery = s.scrub, s.scrubEvery
	cfg.RPC = s.rpc
	cfg.Gateway, cfg.GatewayFetch, cfg.GatewayHosts = s.gateway, s.GatewayFetch, s.GatewayHosts
	if err := s.applyNetwork(&cfg, c.meeting); err != nil {
		return err
	}
	n, err := node.Open(ctx, cfg)
	if err != nil {
		return err
	}
	return a.serve(ctx, n, func(id control.Identity) error {
		facade := ""
		if id.Hub != "" {
			facade = ", hub on " + id.Hub
		}
		if id.Gateway != "" {
			facade += ", gateway on " + id.Gateway
		}
		if id.Metrics != "" {
			facade += ", metrics on " + id.Metrics
		}
		if id.RPC != "" {
			facade += ", rpc on " + id.RPC
		}
		if !id.Online {
			return a.out.print(id, "daemon ready: offline%s", facade)
		}
		return a.out.print(id, "daemon ready: peer %s, listening on %s%s", id.PeerID, addresses(id), facade)
	})
}

// addresses returns the addresses of a node for people.
func addresses(id control.Identity) string {
	if len(id.Addresses) == 0 {
		return "no address"
	}
	return strings.Join(id.Addresses, " ")
}

// idCmd is `id`.
type idCmd struct {
	Online bool `help:"Fail if the node takes part in no network now."`
}

// Run prints who the node is.
func (c *idCmd) Run(ctx context.Context, a *app) error {
	show := func(cl *control.Client) error {
		id, err := cl.ID(ctx)
		if err != nil {
			return err
		}
		if c.Online && !id.Online {
			return &failure{code: exitNoDaemon, err: fmt.Errorf("the daemon takes part in no network"), hint: "start it without --offline"}
		}
		if a.cli.JSON {
			return a.out.print(id, "")
		}
		rows := [][2]string{{"peer id", id.PeerID}, {"version", id.Version}, {"repository", humanize.Escape(id.Repo)}}
		for _, addr := range id.Addresses {
			rows = append(rows, [2]string{"address", addr})
		}
		return a.out.table(rows)
	}
	if c.Online {
		return a.needDaemon(ctx, "id --online", show)
	}
	return a.withNode(ctx, show)
}

// peersCmd is `peers`.
type peersCmd struct{}

// Run lists the connected peers.
func (*peersCmd) Run(ctx context.Context, a *app) error {
	return a.needDaemon(ctx, "peers", func(cl *control.Client) error {
		peers, err := cl.Peers(ctx)
		if err != nil {
			return err
		}
		width := 0
		for _, p := range peers {
			width = max(width, len(p.Address))
		}
		for _, p := range peers {
			latency := "-"
			if p.LatencyMS > 0 {
				latency = fmt.Sprintf("%d ms", p.LatencyMS)
			}
			if err := a.out.print(p, "%s  %-3s  %-*s  %7s  %s", p.PeerID, p.Direction, width, p.Address, latency, humanize.Escape(p.Agent)); err != nil {
				return err
			}
		}
		return nil
	})
}

// connectCmd is `connect`.
type connectCmd struct {
	Address string `arg:"" help:"Multiaddr that ends in /p2p/<peer id>, as \u0060id\u0060 of the other node prints it."`
}

// Run connects.
func (c *connectCmd) Run(ctx context.Context, a *app) error {
	return a.needDaemon(ctx, "connect", func(cl *control.Client) error {
		r, err := cl.Connect(ctx, control.ConnectRequest{Address: c.Address})
		if err != nil {
			return err
		}
		return a.out.print(r, "connected to %s", r.PeerID)
	})
}
