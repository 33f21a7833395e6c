package plan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/client"
	"github.com/hypha-node/hypha-node/jobs"
	"github.com/hypha-node/hypha-node/node"
	"github.com/hypha-node/hypha-node/testground/cases"
)

// member is the instance's node: a process of its own, used through its API and the
// socket of a job.
type member struct {
	at      place
	child   *child // nil: it has left
	address string
	api     *control.Client
	bridge  *client.Client
	workDir string
	before  cases.Traffic // of blocks, of processes that have ended
}

var (
	_ cases.Node      = (*member)(nil)
	_ cases.Restarter = (*member)(nil)
	_ cases.Sender    = (*member)(nil)
)

// scope is the job that those of all instances are parts of.
const scope = "testground"

// startNode starts the node and makes the job whose socket the case uses.
func startNode(ctx context.Context, at place) (_ *member, err error) {
	m := &member{at: at}
	if err := m.start(ctx); err != nil {
		return nil, err
	}
	job, err := m.api.JobCreate(ctx, jobs.Spec{Scope: scope})
	if err != nil {
		return nil, errors.Join(err, m.stop())
	}
	m.bridge, m.workDir = client.New(job.Socket), job.WorkDir
	return m, nil
}

// start starts the process, on the files that are there.
func (m *member) start(ctx context.Context) (err error) {
	if m.child, err = startChild(ctx, m.at.dir, m.at.ip); err != nil {
		return err
	}
	m.api = control.NewClient(node.SocketPath(filepath.Join(m.at.dir, "repo"), m.at.dir))
	id := m.child.id
	i := slices.IndexFunc(id.Addresses, func(a string) bool { return strings.HasSuffix(a, "/p2p/"+id.PeerID) })
	if i < 0 {
		return errors.Join(fmt.Errorf("no address with a peer id in %q", id.Addresses), m.stop())
	}
	m.address = id.Addresses[i]
	return nil
}

// stop ends the node; again it does nothing.
func (m *member) stop() error {
	if m.child == nil {
		return nil
	}
	c := m.child
	m.child = nil
	m.api.Close()
	if m.bridge != nil {
		m.bridge.Close()
	}
	return c.end()
}

// Address implements cases.Node.
func (m *member) Address() string { return m.address }

// Connect implements cases.Node.
func (m *member) Connect(ctx context.Context, address string) error {
	_, err := m.api.Connect(ctx, control.ConnectRequest{Address: address})
	return err
}

// Restart implements cases.Restarter: the process is killed. The job is there again
// with the node, its socket where it was.
func (m *member) Restart(ctx context.Context, abandon func()) error {
	before, err := m.blocks(ctx)
	if err != nil {
		return err
	}
	err = m.child.kill()
	abandon()
	m.before = before
	m.api.Close()
	m.bridge.Close()
	if err != nil {
		return err
	}
	return m.start(ctx)
}

// Leave implements cases.Node: the node ends.
func (m *member) Leave(ctx context.Context) (err error) {
	if m.before, err = m.blocks(ctx); err != nil {
		return err
	}
	return m.stop()
}

// Add implements cases.Node.
func (m *member) Add(ctx context.Context, size, chunk int64) (string, error) {
	if chunk == 0 {
		chunk = cases.DefaultChunk
	}
	added, err := m.api.AddContent(ctx, control.AddRequest{Name: "content", Chunker: fmt.Sprintf("size-%d", chunk)}, cases.Noise(size))
	return added.CID, err
}

// Fetch implements cases.Node.
func (m *member) Fetch(ctx context.Context, what string, size int64) (int64, error) {
	ref, err := cases.Reference(what, size)
	if err != nil {
		return 0, err
	}
	files, err := m.bridge.Fetch(ctx, ref, "artifacts")
	if err != nil {
		return 0, err
	}
	if len(files) != 1 {
		return 0, fmt.Errorf("%d files for one reference", len(files))
	}
	return m.check(files[0].Path, size)
}

// check reads back a file of the work directory.
func (m *member) check(name string, size int64) (int64, error) {
	f, err := os.Open(filepath.Join(m.workDir, name))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return cases.Check(f, size)
}

// prepared is the name of the file that the job sends.
const prepared = "prepared"

// Prepare implements cases.Sender.
func (m *member) Prepare(_ context.Context, size int64) error {
	f, err := os.OpenFile(filepath.Join(m.workDir, prepared), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, cases.Noise(size))
	return errors.Join(err, f.Close())
}

// Send implements cases.Sender.
func (m *member) Send(ctx context.Context, addresses []string) error {
	var ids []string
	for _, address := range addresses {
		ids = append(ids, address[strings.LastIndex(address, "/")+1:])
	}
	_, err := m.bridge.Send(ctx, bridge.SendRequest{Peers: ids, Path: prepared})
	return err
}

// Receive implements cases.Sender.
func (m *member) Receive(ctx context.Context, size int64) (int64, error) {
	for got, err := range m.bridge.Receive(ctx, bridge.ReceiveRequest{}) {
		if err != nil {
			return 0, err
		}
		return m.check(got.Path, size)
	}
	return 0, errors.New("the job's inbox has ended")
}

// Received implements cases.Meter.
func (m *member) Received() int64 { return m.at.wire.Received() }

// Traffic implements cases.Meter.
func (m *member) Traffic(ctx context.Context) (cases.Traffic, error) {
	onWire, err := m.at.wire.traffic()
	if err != nil {
		return onWire, err
	}
	blocks, err := m.blocks(ctx)
	return onWire.Plus(blocks), err
}

// blocks tells of blocks alone: what the node's processes have counted.
func (m *member) blocks(ctx context.Context) (cases.Traffic, error) {
	if m.child == nil {
		return m.before, nil
	}
	st, err := m.api.Status(ctx)
	if err != nil {
		return m.before, err
	}
	n := st.Network
	return m.before.Plus(cases.Traffic{
		Content: int64(n.BytesReceived), Double: int64(n.DuplicateBytes), Control: n.ControlSent, //nolint:gosec // bytes of a case
	}), nil
}
