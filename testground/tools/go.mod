module github.com/hypha-node/hypha-node/testground/tools

go 1.26.0

require github.com/testground/testground v0.6.0
