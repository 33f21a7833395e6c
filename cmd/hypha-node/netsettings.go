package main

import (
	"errors"
	"fmt"

	"github.com/hypha-node/hypha-node/api/hub"
	"github.com/hypha-node/hypha-node/bitswap"
	"github.com/hypha-node/hypha-node/node"
)

// meeting is the part of `daemon` that says whom the node meets.
type meeting struct {
	AllowPeer []string `placeholder:"PEERID" env:"HYPHA_ALLOW_PEERS" help:"Let this peer connect, and no other that is not named so; repeatable. Default: anybody."`
	Relay     []string `placeholder:"MULTIADDR" env:"HYPHA_RELAYS" help:"Be found over this relay, when the node can't be reached; repeatable. Relays carry no data. Default: none."`
	Public    bool     `env:"HYPHA_PUBLIC" help:"Take part in the DHT of the public IPFS network, too: look for content there, and announce what is announced."`
	MDNS      bool     `name:"mdns" env:"HYPHA_MDNS" help:"Find nodes of the same network on the local networks, and be found there."`
	Crew      bool     `default:"true" negatable:"" env:"HYPHA_CREW" help:"Share the work of an origin with connected nodes that fetch the same file at once. Default; --no-crew or --crew=false does not."`
	Metrics   string   `placeholder:"ADDR" env:"HYPHA_METRICS" help:"Serve the node's numbers to Prometheus here; a port alone is one of loopback. Default: nowhere."`
	Pprof     bool     `help:"Serve Go's profiler beside the metrics, on loopback."`
}

// networkConfig is what the configuration file says of it.
type networkConfig struct {
	AllowPeers []string `toml:"allow_peers,omitempty" json:"allow_peers,omitempty"` // peer ids
	Relays     []string `toml:"relays,omitempty" json:"relays,omitempty"`           // multiaddrs with /p2p/
	Public     bool     `toml:"public,omitempty" json:"public,omitempty"`
	MDNS       bool     `toml:"mdns,omitempty" json:"mdns,omitempty"`
	Metrics    string   `toml:"metrics,omitempty" json:"metrics,omitempty"` // address
}

// networkKeys returns the keys of networkConfig.
func networkKeys() []string { return []string{"allow_peers", "mdns", "metrics", "public", "relays"} }

// overNetwork puts flags over the file.
func (s *settings) overNetwork(m meeting) {
	if m.AllowPeer != nil {
		s.AllowPeers = m.AllowPeer
	}
	if m.Relay != nil {
		s.Relays = m.Relay
	}
	s.MDNS, s.Public = s.MDNS || m.MDNS, s.Public || m.Public
	if m.Metrics != "" {
		s.Metrics = m.Metrics
	}
}

// checkNetwork looks at what has a form of its own.
func (s settings) checkNetwork() error {
	for _, id := range s.AllowPeers {
		if err := bitswap.CheckPeerID(id); err != nil {
			return fmt.Errorf("allow_peers: %w", err)
		}
	}
	_, err := s.metricsAddress()
	return err
}

// network returns the settings as `config` shows them.
func (s settings) network() map[string]any {
	return map[string]any{"allow_peers": append([]string{}, s.AllowPeers...), "relays": append([]string{}, s.Relays...), "public": s.Public, "mdns": s.MDNS, "metrics": s.Metrics}
}

// metricsAddress returns where metrics are served as "host:port"; "": nowhere.
func (s settings) metricsAddress() (string, error) {
	if s.Metrics == "" {
		return "", nil
	}
	addr, err := hub.Address(s.Metrics)
	if err != nil {
		return "", fmt.Errorf("metrics: %q %w", s.Metrics, err)
	}
	return addr, nil
}

// applyNetwork sets what a daemon is opened with.
func (s settings) applyNetwork(cfg *node.Config, m meeting) (err error) {
	cfg.Allow, cfg.ForcePrivate, cfg.Relays, cfg.MDNS, cfg.Pprof = s.AllowPeers, forcedPrivate(), s.Relays, s.MDNS, m.Pprof
	cfg.Public, cfg.Crew = s.Public, m.Crew
	cfg.Metrics, err = s.metricsAddress()
	if err == nil && cfg.Pprof && cfg.Metrics == "" {
		err = &failure{code: exitUsage, err: errors.New("--pprof is served beside the metrics, and these nowhere"), hint: "add --metrics PORT"}
	}
	return err
}
