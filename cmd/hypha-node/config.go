package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/hypha-node/hypha-node/bitswap"
	"github.com/hypha-node/hypha-node/connectors/hf"
	"github.com/hypha-node/hypha-node/internal/atomicfile"
	"github.com/hypha-node/hypha-node/internal/humanize"
	"github.com/hypha-node/hypha-node/jobs"
	"github.com/hypha-node/hypha-node/node"
)

// configCmd is `config`.
type configCmd struct {
	Show configShowCmd `cmd:"" default:"1" help:"Print the effective settings. Default."`
	Path configPathCmd `cmd:"" help:"Print where the configuration file is."`
	Get  configGetCmd  `cmd:"" help:"Print one effective setting."`
	Set  configSetCmd  `cmd:"" help:"Change a setting in the file."`
}

// configPathCmd is `config path`.
type configPathCmd struct{}

// Run prints the path.
func (*configPathCmd) Run(a *app) error {
	return a.out.print(map[string]string{"path": a.configPath()}, "%s", humanize.Escape(a.configPath()))
}

// configShowCmd is `config show`.
type configShowCmd struct{}

// Run prints the settings as TOML, in the form of the file.
func (*configShowCmd) Run(a *app) error {
	c, err := a.effective()
	if err != nil {
		return err
	}
	text, err := tomlText(c)
	if err != nil {
		return err
	}
	return a.out.print(c, "%s", strings.TrimSuffix(string(text), "\n"))
}

// effective returns the settings with their defaults.
func (a *app) effective() (map[string]any, error) {
	file, err := readConfig(a.configPath())
	if err != nil {
		return nil, err
	}
	a.file = file
	s, err := a.settings()
	if err != nil {
		return nil, err
	}
	if s.Listen == nil {
		s.Listen = bitswap.DefaultListen()
	}
	if s.LogLevel == "" {
		s.LogLevel = "warn"
	}
	if s.HFEndpoint == "" {
		cfg, err := a.nodeConfig()
		if err != nil {
			return nil, err
		}
		s.HFEndpoint = cfg.HF.Endpoint
	}
	if s.HFTransport == "" {
		cfg, err := a.nodeConfig()
		if err != nil {
			return nil, err
		}
		s.HFTransport = cmp.Or(cfg.HF.Transport, hf.TransportAuto)
	}
	if s.HFCache == "" {
		cfg, err := a.nodeConfig()
		if err != nil {
			return nil, err
		}
		s.HFCache = cfg.HFCache.Dir
	}
	if s.LogSize == "" {
		s.LogSize = fmt.Sprintf("%dMiB", jobs.DefaultLogSize>>20)
	}
	if s.MaxRunning == 0 {
		s.MaxRunning = jobs.DefaultRunning
	}
	list := func(values []string) []string { return append([]string{}, values...) }
	all := map[string]any{
		"listen": list(s.Listen), "bootstrap": list(s.Bootstrap), "peers": list(s.Peers), "http_allow": list(s.HTTPAllow),
		"hf_cache": s.HFCache, "hf_endpoint": s.HFEndpoint, "hf_transport": s.HFTransport, "hub": s.Hub, "log_level": s.LogLevel, "reserve": s.Reserve,
		"gateway": s.Gateway, "gateway_fetch": s.GatewayFetch, "gateway_hosts": list(s.GatewayHosts), "rpc": s.RPC,
		"storage_max": s.StorageMax, "scrub": cmp.Or(s.Scrub, fmt.Sprintf("%dMiB", node.DefaultScrubRate>>20)), "scrub_every": cmp.Or(s.ScrubEvery, spanText(s.scrubEvery)),
		"max_running": s.MaxRunning, "log_size": s.LogSize, "max_rate": s.MaxRate, "job_users": s.JobUsers,
		"isolation": string(s.walls.Default), "isolation_read": list(s.IsolationRead), "isolation_write": list(s.IsolationWrite),
	}
	maps.Copy(all, s.network())
	if len(s.S3) > 0 {
		all["s3"] = s.S3 // its secrets print as none
	}
	if len(s.Executors) > 0 {
		all["executors"] = s.Executors
	}
	return all, nil
}

// configGetCmd is `config get`.
type configGetCmd struct {
	Key string `arg:"" help:"Key of the setting."`
}

// Run prints the setting: a list one value a line.
func (c *configGetCmd) Run(a *app) error {
	all, err := a.effective()
	if err != nil {
		return err
	}
	value, ok := all[c.Key]
	if !ok {
		return unknownKey(c.Key)
	}
	if list, ok := value.([]string); ok && !a.cli.JSON {
		for _, v := range list {
			if err := a.out.line("%s", humanize.Escape(v)); err != nil {
				return err
			}
		}
		return nil
	}
	return a.out.print(value, "%v", value)
}

// unknownKey is the error for a key that is none.
func unknownKey(key string) error {
	return &failure{code: exitUsage, err: fmt.Errorf("unknown key %q", key), hint: "keys are " + strings.Join(configKeys(), ", ")}
}

// configSetCmd is `config set`.
type configSetCmd struct {
	Key    string   `arg:"" help:"Key of the setting."`
	Values []string `arg:"" optional:"" name:"value" help:"Its value; several for a list; none removes the key."`
}

// Run changes the file. Its comments and order stay.
func (c *configSetCmd) Run(a *app) error {
	if !slices.Contains(configKeys(), c.Key) {
		return unknownKey(c.Key)
	}
	old, err := os.ReadFile(a.configPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text, err := editConfig(old, c.Key, c.Values)
	if err != nil {
		return &failure{code: exitUsage, err: err}
	}
	if err := os.MkdirAll(a.cli.Repo, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(a.cli.Repo)
	if err != nil {
		return err
	}
	defer root.Close() // the file is committed by then
	f, err := atomicfile.Create(root, "config.toml", atomicfile.Options{Replace: true, Sync: true})
	if err != nil {
		return err
	}
	if _, err := f.Write(text); err != nil {
		return errors.Join(err, f.Abort())
	}
	if err := f.Commit(); err != nil {
		return err
	}
	if a.cli.JSON {
		return nil
	}
	return a.out.line("%s: a running daemon reads it when it starts again", humanize.Escape(a.configPath()))
}

// editConfig returns the text of a configuration file with one key changed, or
// removed if there are no values.
func editConfig(text []byte, key string, values []string) ([]byte, error) {
	if _, err := parseConfig(text); err != nil {
		return nil, fmt.Errorf("the file is not valid yet: %w", err)
	}
	var line string
	if len(values) > 0 {
		assigned, err := assignment(key, values)
		if err != nil {
			return nil, err
		}
		line = assigned
	}
	// A value spans lines when it is a list: up to the closing bracket.
	entry := regexp.MustCompile(`(?m)^[ \t]*"?` + key + `"?[ \t]*=[ \t]*(\[[^\]]*\][^\n]*|[^\n]*)\n?`)
	var edited []byte
	// Behind a table, a line would belong to the table.
	table := regexp.MustCompile(`(?m)^[ \t]*\[\[?[ \t]*["A-Za-z]`)
	switch at, before := entry.FindIndex(text), table.FindIndex(text); {
	case at == nil && before != nil:
		edited = slices.Concat(text[:before[0]], []byte(line), text[before[0]:])
	case at != nil:
		edited = slices.Concat(text[:at[0]], []byte(line), text[at[1]:])
	case len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")):
		edited = slices.Concat(text, []byte("\n"+line))
	default:
		edited = slices.Concat(text, []byte(line))
	}
	if err := sameBut(text, edited, key, line); err != nil {
		return nil, err
	}
	return edited, nil
}

// assignment returns "key = value\n" as TOML.
func assignment(key string, values []string) (string, error) {
	var value any = values
	switch key {
	case "gateway", "gateway_fetch", "hf_cache", "hf_endpoint", "hf_transport", "hub", "isolation", "job_users", "log_level", "log_size", "max_rate", "max_running", "mdns", "metrics", "public", "reserve", "rpc", "scrub", "scrub_every", "storage_max":
		if len(values) != 1 {
			return "", fmt.Errorf("%s takes one value", key)
		}
		value = values[0]
	}
	if key == "gateway_fetch" || key == "mdns" || key == "public" {
		on, err := strconv.ParseBool(values[0])
		if err != nil {
			return "", fmt.Errorf("%s: %q is neither true nor false", key, values[0])
		}
		value = on
	}
	if key == "max_running" {
		n, err := strconv.Atoi(values[0])
		if err != nil {
			return "", fmt.Errorf("%s: %q is no number", key, values[0])
		}
		value = n
	}
	text, err := tomlText(map[string]any{key: value})
	return string(text), err
}

// tomlText encodes a table.
func tomlText(v map[string]any) ([]byte, error) {
	var b bytes.Buffer
	err := toml.NewEncoder(&b).Encode(v)
	return b.Bytes(), err
}

// sameBut makes sure that an edit of the text changed the key as wanted and
// nothing else, whatever the text looks like.
func sameBut(before, after []byte, key, line string) error {
	if _, err := parseConfig(after); err != nil {
		return err
	}
	was, is, want := map[string]any{}, map[string]any{}, map[string]any{}
	for _, t := range []struct {
		text string
		into *map[string]any
	}{{string(before), &was}, {string(after), &is}, {line, &want}} {
		if _, err := toml.Decode(t.text, t.into); err != nil {
			return err
		}
	}
	delete(was, key)
	if value, ok := want[key]; ok {
		was[key] = value
	}
	a, err := json.Marshal(was)
	if err != nil {
		return err
	}
	b, err := json.Marshal(is)
	if err != nil {
		return err
	}
	if !bytes.Equal(a, b) {
		return fmt.Errorf("key %s can't be changed safely: edit the file by hand", key)
	}
	return nil
}
