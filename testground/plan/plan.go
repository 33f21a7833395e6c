package plan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/testground/sdk-go/network"
	"github.com/testground/sdk-go/run"
	"github.com/testground/sdk-go/runtime"

	"github.com/hypha-node/hypha-node/testground/bound"
	"github.com/hypha-node/hypha-node/testground/cases"
)

// patience is how long an instance may take in all.
const patience = 30 * time.Minute

// errUnshaped refuses a case whose bound would mean nothing.
var errUnshaped = errors.New("nobody shapes the links of this run: play it with `make testground` as root, or play \"smoke\"")

// Parameters of instances.
const (
	paramBound = "bound_s" // of a case with faults: how long it takes without them, in seconds
	paramIndex = "index"   // the instance's, from 0, where who has shaped its link knows it; without it they are in the order in which they came
)

// Cases returns what the plan can play, by name.
func Cases() map[string]any {
	all := map[string]any{}
	for _, c := range cases.Processes(cases.Real()) {
		all[c.Name] = run.InitializedTestCaseFn(func(env *runtime.RunEnv, ic *run.InitContext) error { return play(env, ic, c) })
	}
	return all
}

// play plays a case as one instance.
func play(env *runtime.RunEnv, ic *run.InitContext, c cases.Case) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if len(c.Bad) > 0 {
		if c.Bound, err = strconv.ParseFloat(env.TestInstanceParams[paramBound], 64); err != nil {
			return fmt.Errorf("parameter %s, the seconds that %s takes: %w", paramBound, c.Clean().Name, err)
		}
	}
	if c, err = c.WithMachines(env.TestInstanceCount); err != nil {
		return err
	}
	w, err := newWorld(env, ic, c)
	if err != nil {
		return err
	}
	var subnet *net.IPNet
	if env.TestSubnet != nil {
		subnet = &env.TestSubnet.IPNet
	}
	ip, device, err := dataAddress(subnet)
	if err != nil {
		return err
	}
	if device == "" && c.Name != cases.Smoke().Name {
		return errUnshaped
	}
	if env.TestSidecar {
		if err := shape(ctx, ic, c.LinkOf(w.index)); err != nil {
			return err
		}
	}
	if c.Raw {
		if c.Bound, err = raw(ctx, w, ip, c.Size); err != nil {
			return fmt.Errorf("bare stream: %w", err)
		}
	}
	at := place{env.TestTempPath, ip, wire(device)}
	if w.index == c.Instances() {
		return w.serveOrigin(ctx, c, at)
	}
	row, err := w.play(ctx, c, at)
	if err != nil {
		return err
	}
	return report(env, w, row)
}

// play plays the case as a node.
func (w *world) play(ctx context.Context, c cases.Case, at place) (row cases.Row, err error) {
	if c.Origin > 0 {
		if err := w.findOrigin(ctx); err != nil {
			return row, fmt.Errorf("origin: %w", err)
		}
		defer func() { err = errors.Join(err, w.leaveOrigin()) }()
	}
	stop, err := w.start(ctx, c, at)
	if err != nil {
		return row, err
	}
	row, err = c.Play(ctx, w)
	return row, errors.Join(err, stop())
}

// place is where the node of an instance lives: its files, its address and what it is
// connected by.
type place struct {
	dir, ip string
	wire    wire
}

// listen is what its node listens on, as a multiaddr.
func (p place) listen() string { return "/ip4/" + p.ip + "/tcp/0" }

// start starts the instance's node.
func (w *world) start(ctx context.Context, c cases.Case, at place) (stop func() error, err error) {
	switch fault := c.Fault(w.index); {
	case c.Stock:
		s, err := startStock(ctx, c.Chunk, at)
		if err != nil {
			return nil, err
		}
		w.node = s
		return s.stop, nil
	case fault == cases.Corrupt, fault == cases.Mute:
		l, err := startLiar(ctx, fault, at)
		if err != nil {
			return nil, err
		}
		w.node = l
		return l.stop, nil
	default: // whose link is slow has a node like all others
		m, err := startNode(ctx, at)
		if err != nil {
			return nil, err
		}
		w.node = m
		return m.stop, nil
	}
}

// report records the row. It is every instance's, so the first one tells of the
// bound, and each what it has seen itself.
func report(env *runtime.RunEnv, w *world, row cases.Row) error {
	own := row.Reports[w.index]
	tags := fmt.Sprintf(",case=%s,role=%s", row.Case, own.Role)
	env.R().RecordPoint("time_to_fetch_s"+tags, own.Seconds)
	env.R().RecordPoint("bytes_sent"+tags, float64(own.Traffic.Sent))
	env.R().RecordPoint("bytes_received"+tags, float64(own.Traffic.Received))
	env.R().RecordPoint("ratio_to_bound"+tags, row.Ratio)
	text, err := json.Marshal(row)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(env.TestOutputsPath, "row.json"), text, 0o644); err != nil {
		return err
	}
	return row.Err()
}

// shape asks testground's sidecar for the links of a case.
func shape(ctx context.Context, ic *run.InitContext, l cases.Link) error {
	return ic.NetClient.ConfigureNetwork(ctx, &network.Config{
		Network: "default", Enable: true, CallbackState: "shaped",
		Default: network.LinkShape{
			Latency:   l.RTT / 2,
			Bandwidth: uint64(l.Up * bound.Mbit), // bits per second, whatever its comment says
			Loss:      float32(100 * l.Loss),
		},
		RoutingPolicy: network.DenyAll,
	})
}
