package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/hypha-node/hypha-node/api/hub"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/hf"
	"github.com/hypha-node/hypha-node/connectors/s3"
	"github.com/hypha-node/hypha-node/internal/humanize"
	"github.com/hypha-node/hypha-node/jobs"
	"github.com/hypha-node/hypha-node/node"
)

// fileConfig is the configuration file, config.toml in the repository. Every
// key is optional.
type fileConfig struct {
	networkConfig

	Listen     []string `toml:"listen,omitempty" json:"listen,omitempty"`           // multiaddrs
	Bootstrap  []string `toml:"bootstrap,omitempty" json:"bootstrap,omitempty"`     // multiaddrs with /p2p/
	Peers      []string `toml:"peers,omitempty" json:"peers,omitempty"`             // multiaddrs with /p2p/
	HTTPAllow  []string `toml:"http_allow,omitempty" json:"http_allow,omitempty"`   // CIDRs
	HFEndpoint string   `toml:"hf_endpoint,omitempty" json:"hf_endpoint,omitempty"` // URL
	HFCache    string   `toml:"hf_cache,omitempty" json:"hf_cache,omitempty"`       // absolute path, or "off"
	Hub        string   `toml:"hub,omitempty" json:"hub,omitempty"`                 // address
	Gateway    string   `toml:"gateway,omitempty" json:"gateway,omitempty"`         // address
	MaxRate    string   `toml:"max_rate,omitempty" json:"max_rate,omitempty"`       // size, per second
	LogLevel   string   `toml:"log_level,omitempty" json:"log_level,omitempty"`
	Reserve    string   `toml:"reserve,omitempty" json:"reserve,omitempty"` // size

	StorageMax string `toml:"storage_max,omitempty" json:"storage_max,omitempty"` // size
	Scrub      string `toml:"scrub,omitempty" json:"scrub,omitempty"`             // size, per second, or "off"
	ScrubEvery string `toml:"scrub_every,omitempty" json:"scrub_every,omitempty"` // time

	HFTransport string `toml:"hf_transport,omitempty" json:"hf_transport,omitempty"` // auto, http, xet

	RPC          string   `toml:"rpc,omitempty" json:"rpc,omitempty"` // address
	GatewayFetch bool     `toml:"gateway_fetch,omitempty" json:"gateway_fetch,omitempty"`
	GatewayHosts []string `toml:"gateway_hosts,omitempty" json:"gateway_hosts,omitempty"` // names

	MaxRunning int    `toml:"max_running,omitempty" json:"max_running,omitempty"` // commands of jobs at once
	LogSize    string `toml:"log_size,omitempty" json:"log_size,omitempty"`       // size, of each output of a command

	Isolation      string   `toml:"isolation,omitempty" json:"isolation,omitempty"` // mode, for jobs that say nothing
	IsolationRead  []string `toml:"isolation_read,omitempty" json:"isolation_read,omitempty"`
	IsolationWrite []string `toml:"isolation_write,omitempty" json:"isolation_write,omitempty"`
	JobUsers       string   `toml:"job_users,omitempty" json:"job_users,omitempty"` // "FIRST-LAST", ids for the commands of a node of root's

	S3        map[string]s3Config `toml:"s3,omitempty" json:"s3,omitempty"` // by alias
	Executors []executorConfig    `toml:"executors,omitempty" json:"executors,omitempty"`
}

// executorConfig is one table [[executors]].
type executorConfig struct {
	Name    string   `toml:"name" json:"name"`
	Class   string   `toml:"class,omitempty" json:"class,omitempty"`
	Runtime string   `toml:"runtime,omitempty" json:"runtime,omitempty"` // "process", the only one
	Cmd     string   `toml:"cmd" json:"cmd"`
	Args    []string `toml:"args,omitempty" json:"args,omitempty"`
}

// s3Config is one table [s3.ALIAS].
type s3Config struct {
	Endpoint     string            `toml:"endpoint,omitempty" json:"endpoint,omitempty"` // URL
	Region       string            `toml:"region,omitempty" json:"region,omitempty"`
	PathStyle    *bool             `toml:"path_style,omitempty" json:"path_style,omitempty"`
	AccessKey    string            `toml:"access_key,omitempty" json:"access_key,omitempty"`
	SecretKey    connectors.Secret `toml:"secret_key,omitempty" json:"secret_key,omitempty"`
	SessionToken connectors.Secret `toml:"session_token,omitempty" json:"session_token,omitempty"`
	Credentials  string            `toml:"credentials,omitempty" json:"credentials,omitempty"` // "env", "shared", "none"
	Profile      string            `toml:"profile,omitempty" json:"profile,omitempty"`         // of the shared files
	Buckets      []string          `toml:"buckets,omitempty" json:"buckets,omitempty"`         // that jobs may use
}

// configKeys returns the keys of the file that take values; executors and s3 are
// tables.
func configKeys() []string {
	return slices.Sorted(slices.Values(append(networkKeys(),
		"bootstrap", "gateway", "gateway_fetch", "gateway_hosts", "hf_cache", "hf_endpoint", "hf_transport", "http_allow", "hub", "isolation", "isolation_read", "isolation_write", "job_users",
		"listen", "log_level", "log_size", "max_rate", "max_running", "peers", "reserve", "rpc", "scrub", "scrub_every", "storage_max",
	)))
}

// readConfig reads a configuration file; one that is absent is empty.
func readConfig(path string) (fileConfig, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fileConfig{}, nil
	}
	if err != nil {
		return fileConfig{}, err
	}
	c, err := parseConfig(text)
	if err != nil {
		f := &failure{code: exitUsage, err: fmt.Errorf("%s: %w", path, err), hint: "keys are " + strings.Join(configKeys(), ", ")}
		return c, f
	}
	return c, nil
}

// parseConfig reads the text of a configuration file. Unknown keys and values
// that can't be used are errors: a setting that is ignored is a trap.
func parseConfig(text []byte) (fileConfig, error) {
	var c fileConfig
	meta, err := toml.NewDecoder(bytes.NewReader(text)).Decode(&c)
	if err != nil {
		if pe, ok := errors.AsType[toml.ParseError](err); ok {
			return c, fmt.Errorf("line %d: %s", pe.Position.Line, pe.Message)
		}
		return c, err
	}
	if unknown := meta.Undecoded(); len(unknown) > 0 {
		return c, fmt.Errorf("unknown key %q", unknown[0].String())
	}
	_, err = settings{fileConfig: c}.check()
	return c, err
}

// settings are the effective values: flags and environment over the file over
// the defaults.
type settings struct {
	fileConfig
	reserve   int64 // as blockstore has it: 0 default, negative none
	httpAllow []netip.Prefix

	storageMax int64 // bytes; 0: no limit
	scrub      int64 // bytes per second; 0: none
	scrubEvery time.Duration
	hub        string // "host:port", "" for nowhere
	gateway    string // the same
	rpc        string // the same
	logSize    int64  // bytes; 0: default
	maxRate    int64  // bytes per second; 0: no limit
	s3         map[string]s3.Endpoint
	executors  []jobs.Executor
	walls      jobs.Walls
}

// check parses what has a form of its own.
func (s settings) check() (settings, error) {
	s.httpAllow = nil
	for _, text := range s.HTTPAllow {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			addr, aerr := netip.ParseAddr(text)
			if aerr != nil {
				return s, fmt.Errorf("http_allow: %q is no CIDR, as in 10.0.0.0/8", text)
			}
			p = netip.PrefixFrom(addr, addr.BitLen())
		}
		s.httpAllow = append(s.httpAllow, p.Masked())
	}
	if err := s.checkFacades(); err != nil {
		return s, err
	}
	if err := s.checkNetwork(); err != nil {
		return s, err
	}
	if s.HFCache != "" && s.HFCache != cacheOff && !filepath.IsAbs(s.HFCache) {
		return s, fmt.Errorf("hf_cache: %q is neither an absolute path nor %q", s.HFCache, cacheOff)
	}
	if s.HFTransport != "" && !hf.IsTransport(s.HFTransport) {
		return s, fmt.Errorf("hf_transport: %q is none of auto, http, xet", s.HFTransport)
	}
	if err := s.checkStorage(); err != nil {
		return s, err
	}
	if s.MaxRate != "" {
		n, err := humanize.ParseBytes(strings.TrimSuffix(s.MaxRate, "/s"))
		if err != nil {
			return s, fmt.Errorf("max_rate: %w", err)
		}
		s.maxRate = n
	}
	if s.LogSize != "" {
		n, err := humanize.ParseBytes(s.LogSize)
		if err != nil || n <= 0 {
			return s, fmt.Errorf("log_size: %q is no size, as in 8MiB", s.LogSize)
		}
		s.logSize = n
	}
	if s.MaxRunning < 0 {
		return s, fmt.Errorf("max_running: %d is negative", s.MaxRunning)
	}
	if err := s.checkIsolation(); err != nil {
		return s, err
	}
	if err := s.checkS3(); err != nil {
		return s, err
	}
	s.executors = nil
	for _, e := range s.Executors {
		if e.Runtime != "" && e.Runtime != "process" {
			return s, fmt.Errorf("executor %q: runtime %q: there is only \"process\"", e.Name, e.Runtime)
		}
		s.executors = append(s.executors, jobs.Executor{Name: e.Name, Class: e.Class, Cmd: e.Cmd, Args: e.Args})
	}
	if err := jobs.CheckExecutors(s.executors); err != nil {
		return s, err
	}
	if s.LogLevel != "" && !slices.Contains([]string{"debug", "info", "warn", "error"}, s.LogLevel) {
		return s, fmt.Errorf("log_level: %q is none of debug, info, warn, error", s.LogLevel)
	}
	return s, nil
}

// leastStorage is the least storage_max, in bytes: the index alone takes some.
const leastStorage = 16 << 20

// checkStorage parses how much the store may take.
func (s *settings) checkStorage() error {
	if s.Reserve != "" {
		n, err := humanize.ParseBytes(s.Reserve)
		if err != nil {
			return fmt.Errorf("reserve: %w", err)
		}
		if s.reserve = n; n == 0 {
			s.reserve = -1
		}
	}
	if s.StorageMax != "" {
		n, err := humanize.ParseBytes(s.StorageMax)
		if err != nil || n != 0 && n < leastStorage {
			return fmt.Errorf("storage_max: %q is no size from %s on, as in 100GiB", s.StorageMax, humanize.Bytes(leastStorage))
		}
		s.storageMax = n
	}
	return s.checkScrub()
}

// checkScrub parses how what is stored is read in the background.
func (s *settings) checkScrub() error {
	s.scrub, s.scrubEvery = node.DefaultScrubRate, node.DefaultScrubEvery
	switch s.Scrub {
	case "":
	case scrubOff:
		s.scrub = 0
	default:
		n, err := humanize.ParseBytes(strings.TrimSuffix(s.Scrub, "/s"))
		if err != nil || n <= 0 {
			return fmt.Errorf("scrub: %q is neither a rate, as in 8MiB, nor %q", s.Scrub, scrubOff)
		}
		s.scrub = n
	}
	if s.ScrubEvery != "" {
		d, err := parseSpan(s.ScrubEvery)
		if err != nil {
			return fmt.Errorf("scrub_every: %q is no time, as in 12h, 7d", s.ScrubEvery)
		}
		s.scrubEvery = d
	}
	return nil
}

// scrubOff is the scrub that is none.
const scrubOff = "off"

// cacheOff is the hf_cache that is none.
const cacheOff = "off"

// cache returns the cache that is looked into; usual is where Hugging Face's own
// tools have it.
func (s settings) cache(usual string) hf.Cache {
	switch s.HFCache {
	case "":
		return hf.Cache{Dir: usual}
	case cacheOff:
		return hf.Cache{}
	}
	return hf.Cache{Dir: s.HFCache, Shared: true}
}

// checkFacades parses where façades are served.
func (s *settings) checkFacades() error {
	for _, f := range []struct {
		key, text string
		into      *string
	}{{"hub", s.Hub, &s.hub}, {"gateway", s.Gateway, &s.gateway}, {"rpc", s.RPC, &s.rpc}} {
		if f.text == "" {
			continue
		}
		addr, err := hub.Address(f.text)
		if err != nil {
			return fmt.Errorf("%s: %q %w", f.key, f.text, err)
		}
		*f.into = addr
	}
	for _, name := range s.GatewayHosts {
		if !isHostName(name) {
			return fmt.Errorf("gateway_hosts: %q is no host name, as in gateway.example.org", name)
		}
	}
	return nil
}

// isHostName tells whether a name can be a host's; a port is no part of it.
func isHostName(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return len(name) <= 253
}

// checkS3 makes endpoints of the tables.
func (s *settings) checkS3() error {
	s.s3 = map[string]s3.Endpoint{}
	for alias, t := range s.S3 {
		if !connectors.IsAlias(alias) {
			return fmt.Errorf("s3: %q is no alias: it takes lower-case letters, digits, - and _", alias)
		}
		e := s3.Endpoint{
			URL: t.Endpoint, Region: t.Region, PathStyle: t.PathStyle, AccessKey: t.AccessKey, SecretKey: t.SecretKey,
			SessionToken: t.SessionToken, Credentials: t.Credentials, Profile: t.Profile, Buckets: t.Buckets,
		}
		if err := e.Check(); err != nil {
			return fmt.Errorf("s3.%s.%w", alias, err)
		}
		s.s3[alias] = e
	}
	return nil
}

// settings returns the effective settings.
func (a *app) settings() (settings, error) {
	s := settings{fileConfig: a.file}
	over := func(into *string, flag string) {
		if flag != "" {
			*into = flag
		}
	}
	overList := func(into *[]string, flag []string) {
		if flag != nil {
			*into = flag
		}
	}
	over(&s.HFTransport, os.Getenv("HYPHA_HF_TRANSPORT"))
	over(&s.LogLevel, a.cli.LogLevel)
	over(&s.Reserve, a.cli.Reserve)
	over(&s.StorageMax, a.cli.StorageMax)
	over(&s.MaxRate, a.cli.Fetch.MaxRate)
	d := a.cli.Daemon
	over(&s.Hub, d.Hub)
	over(&s.Gateway, d.Gateway)
	over(&s.RPC, d.RPC)
	s.GatewayFetch = s.GatewayFetch || d.GatewayFetch
	overList(&s.GatewayHosts, d.GatewayHost)
	over(&s.MaxRate, d.MaxRate)
	over(&s.Scrub, d.Scrub)
	over(&s.ScrubEvery, d.ScrubEvery)
	overList(&s.Listen, d.Listen)
	overList(&s.Bootstrap, d.Bootstrap)
	overList(&s.Peers, d.Peer)
	s.overNetwork(d.meeting)
	overList(&s.HTTPAllow, d.HTTPAllow)
	s, err := s.check()
	if err != nil {
		return s, &failure{code: exitUsage, err: err}
	}
	return s, nil
}
