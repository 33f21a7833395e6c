package plan

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/testground/sdk-go/run"
	"github.com/testground/sdk-go/runtime"
	"github.com/testground/sdk-go/sync"

	"github.com/hypha-node/hypha-node/testground/cases"
)

// world is the run as one instance sees it.
type world struct {
	sync   sync.Client
	index  int
	count  int // of nodes
	node   cases.Node
	origin string // its URL; "": none
}

var _ cases.World = (*world)(nil)

func newWorld(env *runtime.RunEnv, ic *run.InitContext, c cases.Case) (*world, error) {
	w := &world{sync: ic.SyncClient, index: int(ic.GlobalSeq) - 1, count: c.Instances()}
	if text, ok := env.TestInstanceParams[paramIndex]; ok {
		var err error
		if w.index, err = strconv.Atoi(text); err != nil || w.index < 0 || w.index >= c.Machines() {
			return nil, fmt.Errorf("parameter %s is %q, want 0 to %d", paramIndex, text, c.Machines()-1)
		}
	}
	return w, nil
}

// Index implements cases.World.
func (w *world) Index() int { return w.index }

// Node implements cases.World.
func (w *world) Node() cases.Node { return w.node }

// Now implements cases.World.
func (w *world) Now() time.Time { return time.Now() }

// Sync implements cases.World.
func (w *world) Sync(ctx context.Context, point string) error {
	_, err := w.sync.SignalAndWait(ctx, sync.State(point), w.count)
	if err != nil {
		return fmt.Errorf("sync %s: %w", point, err)
	}
	return nil
}

// shared is what an instance gives for a topic.
type shared struct {
	Index int    `json:"index"`
	Value []byte `json:"value"`
}

// Share implements cases.World.
func (w *world) Share(ctx context.Context, topic string, value []byte) ([][]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ch := make(chan *shared, w.count)
	_, sub, err := w.sync.PublishSubscribe(ctx, sync.NewTopic(topic, &shared{}), &shared{Index: w.index, Value: value}, ch)
	if err != nil {
		return nil, fmt.Errorf("share %s: %w", topic, err)
	}
	values := make([][]byte, w.count)
	for range values {
		select {
		case one := <-ch:
			if one.Index < 0 || one.Index >= len(values) {
				return nil, fmt.Errorf("share %s: there is no instance %d", topic, one.Index)
			}
			values[one.Index] = one.Value
		case err := <-sub.Done():
			return nil, fmt.Errorf("share %s: %w", topic, errors.Join(err, errEnded))
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return values, nil
}

var errEnded = errors.New("the sync service has ended the subscription")
