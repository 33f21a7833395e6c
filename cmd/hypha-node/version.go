package main

import (
	"runtime"
	"runtime/debug"
)

// Version is the version of the program, without the commit.
const Version = "0.1.0"

// versionCmd is `version`.
type versionCmd struct{}

// versionInfo is what `version --json` prints.
type versionInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built from a changed checkout
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Run prints the version.
func (*versionCmd) Run(a *app) error {
	v := versionInfo{Version: Version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Commit = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
	}
	text := "hypha-node " + v.Version
	if v.Commit != "" {
		text += " (" + v.Commit[:min(len(v.Commit), 12)] + ")"
	}
	return a.out.print(v, "%s %s %s", text, v.Go, v.Platform)
}
