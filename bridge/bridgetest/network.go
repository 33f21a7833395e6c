package bridgetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/ipfs/go-cid"

	blocks "github.com/ipfs/go-block-format"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/connectors/peers"
	"github.com/hypha-node/hypha-node/dag"
)

// Network connects nodes in this process: it keeps the contract of bridge.Peers
// and can break every promise that a network can.
type Network struct {
	mu    sync.Mutex
	nodes map[string]*Node
}

// NewNetwork returns a network without nodes.
func NewNetwork() *Network { return &Network{nodes: map[string]*Node{}} }

// Stage is a moment of a delivery.
type Stage string

// The stages of a delivery, in order.
const (
	StageReach Stage = "reach" // before the connection
	StageOffer Stage = "offer" // before the receiver is asked
	StageBytes Stage = "bytes" // accepted, before the bytes move
	StageTurn  Stage = "turn"  // the bytes are there, before the turn is waited for
	StageKeep  Stage = "keep"  // before it is kept
	StageAck   Stage = "ack"   // it is kept, before the sender is told
)

// ErrLost is a lost connection.
var ErrLost = errors.New("connection lost")

// Node is one node of a Network. It is bridge.Peers of its jobs.
type Node struct {
	net   *Network
	id    string
	store blockstore.Store

	mu    sync.Mutex
	jobs  []*bridge.Job
	fault func(ctx context.Context, s Stage, to string, o peers.Offer) error
}

var (
	_ bridge.Peers   = (*Node)(nil)
	_ peers.Receiver = (*Node)(nil)
)

// Node adds a node, "peer-" and something.
func (n *Network) Node(id string, store blockstore.Store) *Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	nd := &Node{net: n, id: id, store: store}
	n.nodes[id] = nd
	return nd
}

// Remove takes a node off the network: it can't be reached.
func (n *Network) Remove(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.nodes, id)
}

// Serve offers to a job what names it, the first that takes it.
func (n *Node) Serve(j *bridge.Job) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.jobs = append(n.jobs, j)
}

// Unserve ends Serve.
func (n *Node) Unserve(j *bridge.Job) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.jobs = slices.DeleteFunc(n.jobs, func(o *bridge.Job) bool { return o == j })
}

// Fault calls f at each stage of what the node sends; an error is what the
// network does to the delivery there.
func (n *Node) Fault(f func(ctx context.Context, s Stage, to string, o peers.Offer) error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fault = f
}

// Self returns the id.
func (n *Node) Self() string { return n.id }

// Parse takes "peer-x" and, as another form of the same, "PEER-x".
func (n *Node) Parse(id string) (string, error) {
	rest, ok := strings.CutPrefix(id, "PEER-")
	if !ok {
		rest, ok = strings.CutPrefix(id, "peer-")
	}
	if !ok || rest == "" {
		return "", fmt.Errorf("no peer id: %q", id)
	}
	return "peer-" + rest, nil
}

func (n *Node) find(id string) (*Node, error) {
	n.net.mu.Lock()
	defer n.net.mu.Unlock()
	if to := n.net.nodes[id]; to != nil {
		return to, nil
	}
	return nil, fmt.Errorf("dial %s: no route", id)
}

func (n *Node) at(ctx context.Context, s Stage, to string, o peers.Offer) error {
	n.mu.Lock()
	f := n.fault
	n.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(ctx, s, to, o)
}

// Reach finds a node.
func (n *Node) Reach(ctx context.Context, id string) error {
	if err := n.at(ctx, StageReach, id, peers.Offer{}); err != nil {
		return err
	}
	_, err := n.find(id)
	return err
}

// Send delivers, as far as the faults let it.
func (n *Node) Send(ctx context.Context, id string, o peers.Offer, opts peers.SendOptions) (peers.Receipt, error) {
	if err := n.at(ctx, StageOffer, id, o); err != nil {
		return peers.Receipt{}, err
	}
	to, err := n.find(id)
	if err != nil {
		return peers.Receipt{}, err
	}
	secret := o.Secret
	o.Secret = ""
	d, err := to.Offered(ctx, n.id, o, func(s string) bool { return s == secret })
	if errors.Is(err, peers.ErrDelivered) {
		return peers.Receipt{}, nil
	}
	if err != nil {
		return peers.Receipt{}, wire(err)
	}
	moved, err := n.carry(ctx, to, o, opts)
	if err != nil {
		d.Drop(err)
		return peers.Receipt{}, err
	}
	if err := d.Keep(ctx); err != nil {
		return peers.Receipt{}, wire(err)
	}
	if err := n.at(ctx, StageAck, id, o); err != nil {
		return peers.Receipt{}, err
	}
	return peers.Receipt{Moved: moved, Delivered: true}, nil
}

// wire returns what of a receiver's error gets through to the sender.
func wire(err error) error {
	if refusal, ok := errors.AsType[*peers.Refusal](err); ok {
		sent := *refusal
		return &sent
	}
	return &peers.Refusal{Code: peers.CodeInternal, Detail: err.Error()}
}

// carry brings the bytes and waits for the turn.
func (n *Node) carry(ctx context.Context, to *Node, o peers.Offer, opts peers.SendOptions) (moved int64, err error) {
	if err := n.at(ctx, StageBytes, to.id, o); err != nil {
		return 0, err
	}
	if _, err := to.store.File(ctx, o.File.Root); err != nil {
		if _, err := dag.Copy(ctx, to.store, source{n.store}, o.File.Root, dag.CopyOptions{Pace: opts.Pace}); err != nil {
			return 0, err
		}
		moved = o.File.Size
		if opts.Progress != nil {
			opts.Progress(moved)
		}
	}
	if err := n.at(ctx, StageTurn, to.id, o); err != nil {
		return 0, err
	}
	if opts.Turn != nil {
		if err := opts.Turn(ctx); err != nil {
			return 0, err
		}
	}
	return moved, n.at(ctx, StageKeep, to.id, o)
}

// Offered asks the jobs of the node.
func (n *Node) Offered(ctx context.Context, from string, o peers.Offer, proven func(secret string) bool) (peers.Delivery, error) {
	n.mu.Lock()
	jobs := slices.Clone(n.jobs)
	n.mu.Unlock()
	var last error = &peers.Refusal{Code: peers.CodeNotInJob, Detail: "no such job"}
	for _, j := range jobs {
		d, err := j.Accept(ctx, from, o, proven)
		if err == nil {
			return d, nil
		}
		last = err
		if refusal, ok := errors.AsType[*peers.Refusal](err); !ok || refusal.Code != peers.CodeNotInJob {
			break
		}
	}
	return nil, last
}

// source gives the blocks of a store to dag.Copy.
type source struct{ store blockstore.Store }

func (s source) GetBlocks(ctx context.Context, cs []cid.Cid) (<-chan blocks.Block, error) {
	out := make(chan blocks.Block, len(cs))
	defer close(out)
	for _, c := range cs {
		blk, err := s.store.Get(ctx, c)
		if err != nil {
			return out, nil //nolint:nilerr // what is missing is not sent
		}
		out <- blk
	}
	return out, nil
}
