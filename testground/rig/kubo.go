package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Find returns the first of these that exists: the file that the environment
// variable names, the command on PATH, the file below the cache of .ci/run.
func Find(variable, command, cached string) (string, error) {
	if name := os.Getenv(variable); name != "" {
		if _, err := os.Stat(name); err != nil {
			return "", fmt.Errorf("%s: %w", variable, err)
		}
		return name, nil
	}
	if command != "" {
		if name, err := exec.LookPath(command); err == nil {
			return name, nil
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	name := filepath.Join(cache, "hypha-node-ci", cached)
	if _, err := os.Stat(name); err != nil {
		return "", fmt.Errorf("not found: set %s, or run .ci/run once", variable)
	}
	return name, nil
}

// FindKubo returns the name of a Kubo binary.
func FindKubo() (string, error) { return Find("HYPHA_KUBO", "ipfs", "kubo-v0.43.0/ipfs") }

// Kubo is a Kubo node of its own that never dials out.
type Kubo struct {
	Binary string
	Path   string // IPFS_PATH
	proc   *daemon
}

// NewKubo initialises a repository in dir whose imports follow the profile
// ("v1-2025" or "v0-2015"): no bootstrap, no DHT, no discovery, no automatic
// configuration; random ports on loopback.
func NewKubo(ctx context.Context, binary, dir, profile string) (*Kubo, error) {
	k := &Kubo{Binary: binary, Path: dir}
	if _, err := k.Run(ctx, "init", "-e", "--profile=unixfs-"+profile+",autoconf-off"); err != nil {
		return nil, err
	}
	name := filepath.Join(dir, "config")
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var config map[string]any
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, err
	}
	for key, value := range map[string]any{
		"AutoConf.Enabled":         false,
		"Bootstrap":                []string{},
		"DNS.Resolvers":            map[string]string{},
		"Routing.DelegatedRouters": []string{},
		"Ipns.DelegatedPublishers": []string{},
		"Routing.Type":             "none",
		"Addresses.API":            "/ip4/127.0.0.1/tcp/0",
		"Addresses.Gateway":        "/ip4/127.0.0.1/tcp/0",
		"Addresses.Swarm":          []string{"/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/0/quic-v1"},
		"Discovery.MDNS.Enabled":   false,
		"AutoTLS.Enabled":          false,
		"Swarm.DisableNatPortMap":  true,
		"Provide.Enabled":          false,

		"Swarm.RelayClient.Enabled": false,
		"Swarm.EnableHolePunching":  false,
	} {
		set(config, strings.Split(key, "."), value)
	}
	if text, err = json.MarshalIndent(config, "", "  "); err != nil {
		return nil, err
	}
	return k, os.WriteFile(name, text, 0o600)
}

// set puts a value at a path of nested objects.
func set(object map[string]any, path []string, value any) {
	for ; len(path) > 1; path = path[1:] {
		child, ok := object[path[0]].(map[string]any)
		if !ok {
			child = map[string]any{}
			object[path[0]] = child
		}
		object = child
	}
	object[path[0]] = value
}

// env keeps Kubo to its repository and to itself.
func (k *Kubo) env() []string {
	return []string{"IPFS_PATH=" + k.Path, "IPFS_TELEMETRY=off", "DO_NOT_TRACK=1", "LIBP2P_FORCE_PNET=0"}
}

// Program is a command that speaks to this node.
func (k *Kubo) Program(args ...string) Program {
	return Program{Path: k.Binary, Args: args, Env: k.env()}
}

// Run runs a command against this node; without its daemon it works on the
// repository directly.
func (k *Kubo) Run(ctx context.Context, args ...string) (Result, error) {
	return k.Program(args...).Run(ctx)
}

// Add adds a file or a tree and returns the root. Nothing is synced.
func (k *Kubo) Add(ctx context.Context, path string, more ...string) (string, error) {
	args := append([]string{"add", "-Q", "-r", "--progress=false"}, more...)
	r, err := k.Run(ctx, append(args, path)...)
	return strings.TrimSpace(r.Stdout), err
}

// Start starts the daemon and returns when its API answers.
func (k *Kubo) Start(ctx context.Context) error {
	api := filepath.Join(k.Path, "api")
	if err := os.Remove(api); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	proc, err := startDaemon(ctx, Program{Path: k.Binary, Args: []string{"daemon"}, Env: k.env()})
	if err != nil {
		return err
	}
	k.proc = proc
	return poll(ctx, proc, "kubo", func() error {
		// Before this file is there, a command would open the repository itself,
		// and the daemon, which comes a moment later, would find it locked.
		if _, err := os.Stat(api); err != nil {
			return err
		}
		_, err := k.Address(ctx)
		return err
	})
}

// PID is the daemon's process id.
func (k *Kubo) PID() int { return k.proc.cmd.Process.Pid }

// Stop ends the daemon.
func (k *Kubo) Stop() error { return k.proc.stop() }

// API returns the base URL of the daemon's API.
func (k *Kubo) API() (string, error) {
	text, err := os.ReadFile(filepath.Join(k.Path, "api"))
	if err != nil {
		return "", err
	}
	parts := strings.Split(strings.TrimSpace(string(text)), "/")
	if len(parts) != 5 || parts[1] != "ip4" || parts[3] != "tcp" {
		return "", fmt.Errorf("kubo: API at %q", text)
	}
	return "http://" + parts[2] + ":" + parts[4], nil
}

// Gateway returns the base URL of the daemon's gateway.
func (k *Kubo) Gateway() (string, error) {
	text, err := os.ReadFile(filepath.Join(k.Path, "gateway"))
	return strings.TrimSpace(string(text)), err
}

// Address returns the node's loopback TCP multiaddr with its peer id.
func (k *Kubo) Address(ctx context.Context) (string, error) {
	r, err := k.Run(ctx, "id", "-f", "<addrs>")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(r.Stdout) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "/ip4/127.0.0.1/tcp/") {
			return line, nil
		}
	}
	return "", fmt.Errorf("kubo: no loopback TCP address in %q", r.Stdout)
}

// poll tries until try succeeds, the process ends, or 60 s have passed.
func poll(ctx context.Context, proc *daemon, name string, try func() error) error {
	patience := time.NewTimer(60 * time.Second)
	defer patience.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-proc.done:
			return fmt.Errorf("%s ended before it was ready: %w: %s", name, proc.err, proc.stderr)
		case <-patience.C:
			return errors.Join(fmt.Errorf("%s not ready after 60 s: %w", name, err), proc.kill())
		case <-ctx.Done():
			return errors.Join(ctx.Err(), proc.kill())
		}
	}
}
