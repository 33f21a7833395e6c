module github.com/hypha-node/hypha-node/testground/tools/sync

go 1.26.0

require github.com/testground/sync-service v0.1.0
