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

// errOrigin refuses a case with a server that nobody plays here.
var errOrigin = errors.New("cases with an origin are played in virtual time only: `make sim`")

// paramBound is the parameter of a case with faults: how long it takes without them,
// in seconds.
const paramBound = "bound_s"

// Cases returns what the plan can play, by name.
func Cases() map[string]any {
	list := append(cases.List(cases.Usual()), cases.Smoke())
	for _, c := range list {
		if len(c.Bad) > 0 {
			list = append(list, c.Clean())
		}
	}
	all := map[string]any{}
	for _, c := range list {
		all[c.Name] = run.InitializedTestCaseFn(func(env *runtime.RunEnv, ic *run.InitContext) error { return play(env, ic, c) })
	}
	return all
}

// play plays a case as one instance.
func play(env *runtime.RunEnv, ic *run.InitContext, c cases.Case) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if c.Origin > 0 {
		return errOrigin
	}
	if len(c.Bad) > 0 {
		if c.Bound, err = strconv.ParseFloat(env.TestInstanceParams[paramBound], 64); err != nil {
			return fmt.Errorf("parameter %s, the seconds that %s takes: %w", paramBound, c.Clean().Name, err)
		}
	}
	if c, err = c.WithInstances(env.TestInstanceCount); err != nil {
		return err
	}
	w := newWorld(env, ic)
	var subnet *net.IPNet
	if env.TestSubnet != nil {
		subnet = &env.TestSubnet.IPNet
	}
	ip, device, err := dataAddress(subnet)
	if err != nil {
		return err
	}
	if device == "" && !c.Unshaped {
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
	stop, err := w.start(ctx, c.Fault(w.index), place{env.TestTempPath, ip, device})
	if err != nil {
		return err
	}
	row, err := c.Play(ctx, w)
	if err := errors.Join(err, stop()); err != nil {
		return err
	}
	return report(env, w, row)
}

// place is where the node of an instance lives: its files, its address and the device
// whose bytes are counted, "" for none.
type place struct{ dir, ip, device string }

// start starts the instance's node.
func (w *world) start(ctx context.Context, fault cases.Fault, at place) (stop func() error, err error) {
	switch fault {
	case cases.Corrupt, cases.Mute:
		l, err := startLiar(ctx, fault, at.dir, at.ip)
		if err != nil {
			return nil, err
		}
		l.device, w.node = at.device, l
		return l.stop, nil
	default: // whose link is slow has a node like all others
		m, err := startNode(ctx, at.dir, at.ip)
		if err != nil {
			return nil, err
		}
		m.device, w.node = at.device, m
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
