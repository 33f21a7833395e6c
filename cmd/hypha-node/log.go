package main

import (
	"log/slog"
	"os"

	golog "github.com/ipfs/go-log/v2"

	"github.com/hypha-node/hypha-node/node"
)

// setUpLog makes the logger and brings the libraries' logs to the same place,
// one level quieter than our own: what they call a warning is everyday life of
// a network.
func (a *app) setUpLog() error {
	s, err := a.settings()
	if err != nil {
		return err
	}
	level, theirs := slog.LevelWarn, golog.LevelError
	switch s.LogLevel {
	case "debug":
		level, theirs = slog.LevelDebug, golog.LevelInfo
	case "info":
		level, theirs = slog.LevelInfo, golog.LevelWarn
	case "error":
		level, theirs = slog.LevelError, golog.LevelFatal
	}
	a.log = slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: level}))
	if _, set := os.LookupEnv("GOLOG_LOG_LEVEL"); !set { // who sets it wants to see them
		golog.SetupLogging(golog.Config{Format: golog.PlaintextOutput, Level: theirs, Stderr: true})
		node.JoinLogs(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: level + 4})) // levels are 4 apart
	}
	return nil
}
