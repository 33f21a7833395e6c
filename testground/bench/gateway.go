package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// gatewayRow: a stored big file over HTTP to a file, by its CID from our gateway and
// from Kubo's, by its name from nginx. CPU time of nginx is not counted.
func (b *bench) gatewayRow(ctx context.Context, nginx *rig.Nginx) (_ row, stop func() error, err error) {
	if err := b.store(ctx); err != nil {
		return row{}, nil, err
	}
	n, err := rig.StartNode(ctx, rig.Config{Binary: b.binary, Repo: b.stored, Args: []string{"--gateway", "0"}})
	if err != nil {
		return row{}, nil, err
	}
	stop = n.Stop
	_, url, found := strings.Cut(n.Ready, ", gateway on ")
	if !found {
		return row{}, stop, fmt.Errorf("no gateway in %q", n.Ready)
	}
	from := func(name, url string, pids ...int) contender {
		return contender{name, func(_ context.Context, dir string) (func(context.Context) (sample, error), func() error, error) {
			out := filepath.Join(dir, "out")
			return transfer(rig.Program{Path: "curl", Args: []string{"-s", "-f", "-o", out, url}}, out, b.sum, pids...), nil, nil
		}}
	}
	r := row{
		name: "gateway", title: "curl gets a stored big file over HTTP",
		subject: from("our gateway", strings.TrimSpace(url)+"/ipfs/"+b.root, n.PID()),
		rivals:  []contender{from("nginx", nginx.URL+"/"+filepath.Base(b.file))},
		goals:   []goal{{rival: "nginx", speed: 0.5}, {rival: "Kubo's gateway", speed: 1}},
		anon:    transferMemory,
	}
	if b.kubo == "" {
		return r, stop, nil
	}
	if err := b.kuboStored.Start(ctx); err != nil {
		return row{}, stop, err
	}
	stop = func() error { return errors.Join(b.kuboStored.Stop(), n.Stop()) }
	theirs, err := b.kuboStored.Gateway()
	if err != nil {
		return row{}, stop, err
	}
	r.rivals = append(r.rivals, from("Kubo's gateway", theirs+"/ipfs/"+b.kuboRoot, b.kuboStored.PID()))
	return r, stop, nil
}
