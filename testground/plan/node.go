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
	dir, ip string
	child   *child
	address string
	device  string // the network device whose bytes are counted; "": none
	api     *control.Client
	bridge  *client.Client
	workDir string
}

var (
	_ cases.Node      = (*member)(nil)
	_ cases.Restarter = (*member)(nil)
	_ cases.Sender    = (*member)(nil)
)

// scope is the job that those of all instances are parts of.
const scope = "testground"

// startNode starts the node on an address of this machine, with its files below
// dir, and makes the job whose socket the case uses.
func startNode(ctx context.Context, dir, ip string) (_ *member, err error) {
	m := &member{dir: dir, ip: ip}
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
	if m.child, err = startChild(ctx, m.dir, m.ip); err != nil {
		return err
	}
	m.api = control.NewClient(node.SocketPath(filepath.Join(m.dir, "repo"), m.dir))
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
	err := m.child.kill()
	abandon()
	m.api.Close()
	m.bridge.Close()
	if err != nil {
		return err
	}
	return m.start(ctx)
}

// Leave implements cases.Node: the node ends.
func (m *member) Leave(context.Context) error { return m.stop() }

// Add implements cases.Node.
func (m *member) Add(ctx context.Context, size, chunk int64) (string, error) {
	if chunk == 0 {
		chunk = cases.DefaultChunk
	}
	added, err := m.api.AddContent(ctx, control.AddRequest{Name: "content", Chunker: fmt.Sprintf("size-%d", chunk)}, cases.Noise(size))
	return added.CID, err
}

// Fetch implements cases.Node.
func (m *member) Fetch(ctx context.Context, cid string, size int64) (int64, error) {
	files, err := m.bridge.Fetch(ctx, map[string]any{"type": "cids", "values": []string{cid}}, "artifacts")
	if err != nil {
		return 0, err
	}
	if len(files) != 1 {
		return 0, fmt.Errorf("%d files for one CID", len(files))
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

// Traffic implements cases.Node. It knows what was on the wire alone.
func (m *member) Traffic() cases.Traffic { return deviceTraffic(m.device) }
