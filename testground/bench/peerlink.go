package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// longWay is half of the 100 ms that row long's link takes there and back.
const longWay = 50 * time.Millisecond

// longRow: a big file from another node over a long fat link, against one libp2p
// stream of the same transport over another link of the kind. Both connections
// are there before the clock starts.
func (b *bench) longRow(ctx context.Context) (_ row, stop func() error, err error) {
	if err := b.store(ctx); err != nil {
		return row{}, nil, err
	}
	a, err := b.node(ctx, b.stored)
	if err != nil {
		return row{}, nil, err
	}
	k, over, err := nodeOver(ctx, a, shape{delay: longWay, all: gigabit})
	if err != nil {
		return row{}, a.Stop, err
	}
	stop = func() error { return errors.Join(k.close(), a.Stop()) }
	bare := "a bare libp2p stream"
	return row{
		name: "long", title: "node B gets a big file from node A over 1 Gbit/s, 100 ms there and back",
		subject: b.getOver(a, over, b.root, b.sum),
		rivals: []contender{{bare, func(ctx context.Context, _ string) (func(context.Context) (sample, error), func() error, error) {
			return bareStream(ctx, b.file, b.size, shape{delay: longWay, all: gigabit})
		}}},
		goals: []goal{{rival: bare, speed: 1 / 1.15}},
		anon:  transferMemory,
	}, stop, nil
}

// textRow: lines of JSON from another node over a slow link, against a bare stream.
func (b *bench) textRow(ctx context.Context) (_ row, stop func() error, err error) {
	const size = 64 << 20
	file, repo := filepath.Join(b.dir, "lines.jsonl"), filepath.Join(b.dir, "lines")
	sum, err := writeLines(file, size)
	if err != nil {
		return row{}, nil, err
	}
	added, err := b.hypha(repo, "add", "-q", file).Run(ctx)
	if err != nil {
		return row{}, nil, err
	}
	a, err := b.node(ctx, repo)
	if err != nil {
		return row{}, nil, err
	}
	s := shape{delay: 5 * time.Millisecond, all: gigabit / 10}
	k, over, err := nodeOver(ctx, a, s)
	if err != nil {
		return row{}, a.Stop, err
	}
	bare := "a bare libp2p stream"
	return row{
		name: "text", title: "node B gets 64 MiB of JSON lines from node A over 100 Mbit/s",
		subject: b.getOver(a, over, strings.TrimSpace(added.Stdout), sum),
		rivals: []contender{{bare, func(ctx context.Context, _ string) (func(context.Context) (sample, error), func() error, error) {
			return bareStream(ctx, file, size, s)
		}}},
		goals: []goal{{rival: bare, speed: 1.5}},
		anon:  transferMemory,
	}, func() error { return errors.Join(k.close(), a.Stop()) }, nil
}

// writeLines writes lines of JSON about words, which are the same each time, and
// returns their sha256 in hex.
func writeLines(name string, size int) (sum string, err error) {
	r := rand.New(rand.NewPCG(1, 2))
	words := make([]string, 5000)
	for i := range words {
		word := make([]byte, 2+r.IntN(9))
		for j := range word {
			word[j] = byte('a' + r.IntN(26))
		}
		words[i] = string(word)
	}
	often := rand.NewZipf(r, 1.1, 4, uint64(len(words)-1))
	var text bytes.Buffer
	for text.Len() < size {
		var line []string
		for range 40 {
			line = append(line, words[often.Uint64()])
		}
		fmt.Fprintf(&text, `{"id":%d,"text":%q,"label":%d,"score":%g}`+"\n", r.Uint64(), strings.Join(line, " "), r.IntN(5), r.Float64())
	}
	data := text.Bytes()[:size]
	return fmt.Sprintf("%x", sha256.Sum256(data)), os.WriteFile(name, data, 0o600)
}

// getOver is a node that is connected to another one and gets a file from it.
func (b *bench) getOver(a *rig.Node, over, root, sum string) contender {
	return contender{"hypha-node get from a peer", func(ctx context.Context, dir string) (func(context.Context) (sample, error), func() error, error) {
		n, err := b.node(ctx, filepath.Join(dir, "repo"))
		if err != nil {
			return nil, nil, err
		}
		if _, err := n.Run(ctx, "connect", over); err != nil {
			return nil, n.Stop, err
		}
		out := filepath.Join(dir, "out")
		return transfer(n.Program("get", root, "-o", out), out, sum, a.PID(), n.PID()), n.Stop, nil
	}}
}

// nodeOver is linkTo for a node.
func nodeOver(ctx context.Context, n *rig.Node, s shape) (k *link, over string, err error) {
	address, err := n.Address(ctx)
	if err != nil {
		return nil, "", err
	}
	return linkTo(ctx, address, s)
}

// linkTo puts a link before a node's TCP address, and returns the address over it.
func linkTo(ctx context.Context, address string, s shape) (k *link, over string, err error) {
	info, err := peer.AddrInfoFromString(address)
	if err != nil {
		return nil, "", err
	}
	ip, err := info.Addrs[0].ValueForProtocol(ma.P_IP4)
	if err != nil {
		return nil, "", err
	}
	port, err := info.Addrs[0].ValueForProtocol(ma.P_TCP)
	if err != nil {
		return nil, "", err
	}
	if k, err = newLink(ctx, ip+":"+port, s); err != nil {
		return nil, "", err
	}
	_, local, _ := strings.Cut(k.Addr, ":")
	return k, fmt.Sprintf("/ip4/127.0.0.1/tcp/%s/p2p/%s", local, info.ID), nil
}

// bareProtocol is a stream that a file comes on, and nothing else.
const bareProtocol = "/hypha-bench/bare"

// bareHost listens on loopback over the transport that nodes prefer.
func bareHost() (host.Host, error) {
	return libp2p.New(
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.Transport(tcp.NewTCPTransport), libp2p.DisableRelay(),
		libp2p.Security(libp2ptls.ID, libp2ptls.New), libp2p.Muxer(yamux.ID, yamux.DefaultTransport))
}

// bareStream gets a file over one stream of two hosts, to nowhere.
func bareStream(ctx context.Context, file string, size int64, s shape) (run func(context.Context) (sample, error), stop func() error, err error) {
	var stops []func() error
	stop = func() error {
		var errs []error
		for _, f := range stops {
			errs = append(errs, f())
		}
		return errors.Join(errs...)
	}
	from, err := bareHost()
	if err != nil {
		return nil, nil, err
	}
	stops = append(stops, from.Close)
	from.SetStreamHandler(bareProtocol, func(st network.Stream) {
		f, err := os.Open(file)
		if err != nil {
			_ = st.Reset() //nolint:errcheck // the reader sees it
			return
		}
		defer f.Close()
		if _, err := io.ReadFull(st, make([]byte, 1)); err != nil { // negotiation ends with the first byte
			return
		}
		if _, err := io.Copy(st, f); err == nil {
			_ = st.CloseWrite() //nolint:errcheck // the reader counts
		}
	})
	k, over, err := linkTo(ctx, fmt.Sprintf("%s/p2p/%s", from.Addrs()[0], from.ID()), s)
	if err != nil {
		return nil, stop, err
	}
	stops = append(stops, k.close)
	to, err := bareHost()
	if err != nil {
		return nil, stop, err
	}
	stops = append(stops, to.Close)
	info, err := peer.AddrInfoFromString(over)
	if err == nil {
		err = to.Connect(ctx, *info)
	}
	return func(ctx context.Context) (sample, error) {
		return working(func() error {
			st, err := to.NewStream(ctx, info.ID, bareProtocol)
			if err != nil {
				return err
			}
			defer func() { _ = st.Close() }()
			if _, err := st.Write([]byte{1}); err != nil {
				return err
			}
			_, err = io.CopyN(io.Discard, st, size)
			return err
		})
	}, stop, err
}
