//go:build tools

// Package tools pins the sync service that make testground-upstream builds.
package tools

import _ "github.com/testground/sync-service/cmd"
