package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors/hf"
	"github.com/hypha-node/hypha-node/connectors/s3"
	"github.com/hypha-node/hypha-node/node"
)

// app is what commands run with.
type app struct {
	cli                   cli
	stdin, stdout, stderr *os.File
	out                   *output
	log                   *slog.Logger
	verb                  string // names this process to others that want the repository
	quiet                 bool   // no bars
	events                bool   // progress as lines of JSON, with --json
	file                  fileConfig
}

// setUp prepares what every command needs, from flags, environment and the
// configuration file, in this order of precedence.
func (a *app) setUp(parsed *kong.Context) error {
	a.verb, _, _ = strings.Cut(parsed.Command(), " ")
	a.out = newOutput(a.stdout, a.cli.JSON)
	repo, err := repoPath(a.cli.Repo)
	if err != nil {
		return err
	}
	a.cli.Repo = repo
	if a.file, err = readConfig(a.configPath()); err != nil && a.verb != "config" && a.verb != "doctor" {
		return err
	}
	return a.setUpLog()
}

// repoPath returns the absolute path of the repository.
func repoPath(given string) (string, error) {
	if given == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", &failure{code: exitUsage, err: err, hint: "name a repository: --repo DIR or HYPHA_REPO"}
		}
		return filepath.Join(home, ".hypha"), nil
	}
	return filepath.Abs(kong.ExpandPath(given))
}

// configPath returns where the configuration file is.
func (a *app) configPath() string { return filepath.Join(a.cli.Repo, "config.toml") }

// nodeConfig returns the configuration of a node of this process.
func (a *app) nodeConfig() (node.Config, error) {
	s, err := a.settings()
	if err != nil {
		return node.Config{}, err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "" // then there is no token file
	}
	hub := hf.ConfigFromEnv(os.LookupEnv, home)
	if hub.Endpoint == "" {
		hub.Endpoint = s.HFEndpoint
	}
	if s.HFTransport != "" {
		hub.Transport = s.HFTransport
	}
	objects := s3.ConfigFromEnv(os.LookupEnv)
	objects.Endpoints = s.s3
	return node.Config{
		Repo: a.cli.Repo, Holder: a.verb, Version: Version, Offline: true,
		HF: hub, HFCache: s.cache(hf.CacheDir(os.LookupEnv, home)), S3: objects, HTTPAllow: s.httpAllow, MaxRate: s.maxRate, Reserve: s.reserve, StorageMax: s.storageMax, RuntimeDir: runtimeDir(), Logger: a.log,
		Executors: s.executors, Environ: jobEnviron(os.Environ()), Running: s.MaxRunning, LogSize: s.logSize,
		Walls: a.walls(s),
	}, nil
}

// jobEnviron returns what the commands that the node runs for jobs get of its
// own environment: all but this program's settings and what looks like a
// credential, which a job gets by its spec or not at all.
func jobEnviron(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(entry string) bool {
		name, _, _ := strings.Cut(strings.ToUpper(entry), "=")
		if strings.HasPrefix(name, "HYPHA_") {
			return true
		}
		for _, word := range []string{
			"TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "CREDENTIALS", "APIKEY", "API_KEY", "ACCESS_KEY", "SECRET_KEY", "PRIVATE_KEY",
		} {
			if strings.Contains("_"+name+"_", "_"+word+"_") {
				return true
			}
		}
		return false
	})
}

// runtimeDir returns a short directory for sockets whose own path is too long.
func runtimeDir() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) && len(dir) < 40 {
		return dir
	}
	return "/tmp"
}

// withNode calls do with a client of the daemon or, without one, of a node that
// is opened for the time of the call and takes part in no network.
func (a *app) withNode(ctx context.Context, do func(*control.Client) error) error {
	c, end, err := a.open(ctx)
	if err != nil {
		return err
	}
	return errors.Join(do(c), end())
}

// Waiting for a repository that another command has open.
const (
	patience = time.Minute
	sayAfter = time.Second // until the user is told what is waited for
	lookAt   = 50 * time.Millisecond
)

// open returns a client and what ends it. While another process has the
// repository it waits: for a daemon that does not listen yet, or a command that
// ends.
func (a *app) open(ctx context.Context) (*control.Client, func() error, error) {
	begin, said := time.Now(), false
	look := time.NewTicker(lookAt)
	defer look.Stop()
	for {
		if c := a.daemon(ctx); c != nil {
			return c, func() error { c.Close(); return nil }, nil
		}
		n, err := a.openNode(ctx)
		if err == nil {
			a.log.Debug("node opened")
			return control.NewLocal(n.Handler()), n.Close, nil
		}
		waited := time.Since(begin)
		if !errors.Is(err, blockstore.ErrInUse) || waited > patience {
			return nil, nil, err
		}
		if waited > sayAfter && !said {
			said = true
			fmt.Fprintf(a.stderr, "waiting: %s\n", escapeLines(err.Error()))
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
}

// daemon returns a client of the daemon, nil if none answers.
func (a *app) daemon(ctx context.Context) *control.Client {
	path := node.SocketPath(a.cli.Repo, runtimeDir())
	if _, err := os.Lstat(path); err != nil {
		return nil
	}
	c := control.NewClient(path)
	if err := c.Ping(ctx); err != nil {
		c.Close()
		return nil
	}
	return c
}

// openNode opens an offline node in this process.
func (a *app) openNode(ctx context.Context) (*node.Node, error) {
	cfg, err := a.nodeConfig()
	if err != nil {
		return nil, err
	}
	return node.Open(ctx, cfg)
}

// needDaemon calls do with a client of the daemon.
func (a *app) needDaemon(ctx context.Context, why string, do func(*control.Client) error) error {
	c := a.daemon(ctx)
	if c == nil {
		return &failure{code: exitNoDaemon, err: fmt.Errorf("%s: %w", why, control.ErrNoDaemon), hint: "start `hypha-node daemon`"}
	}
	defer c.Close()
	return do(c)
}
