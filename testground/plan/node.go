package plan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/bridge/client"
	"github.com/hypha-node/hypha-node/jobs"
	"github.com/hypha-node/hypha-node/node"
	"github.com/hypha-node/hypha-node/testground/cases"
)

// member is the instance's node: opened as the daemon opens it, used through its
// API and the socket of a job.
type member struct {
	dir, ip string
	address string
	device  string // the network device whose bytes are counted; "": none
	api     *control.Client
	bridge  *client.Client
	workDir string
	stop    func() error
}

var (
	_ cases.Node      = (*member)(nil)
	_ cases.Restarter = (*member)(nil)
)

// startNode starts the node on an address of this machine, with its files below
// dir.
func startNode(ctx context.Context, dir, ip string) (_ *member, err error) {
	repo := filepath.Join(dir, "repo")
	n, err := node.Open(ctx, node.Config{
		Repo: repo, Holder: "testground", Version: "testground", RuntimeDir: dir, Reserve: -1,
		Listen: []string{"/ip4/" + ip + "/tcp/0"},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return nil, err
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ready, ended := make(chan control.Identity, 1), make(chan error, 1)
	go func() { ended <- n.Run(life, func(id control.Identity) { ready <- id }) }()
	m := &member{dir: dir, ip: ip, api: control.NewClient(node.SocketPath(repo, dir))}
	m.stop = func() error {
		m.api.Close()
		cancel()
		return errors.Join(<-ended, n.Close())
	}
	select {
	case id := <-ready:
		err = m.open(ctx, id)
	case err = <-ended:
		ended <- nil // for stop
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, m.stop())
	}
	return m, nil
}

// open makes the job whose socket the case uses.
func (m *member) open(ctx context.Context, id control.Identity) error {
	i := slices.IndexFunc(id.Addresses, func(a string) bool { return strings.HasSuffix(a, "/p2p/"+id.PeerID) })
	if i < 0 {
		return fmt.Errorf("no address with a peer id in %q", id.Addresses)
	}
	m.address = id.Addresses[i]
	job, err := m.api.JobCreate(ctx, jobs.Spec{})
	if err != nil {
		return err
	}
	m.bridge, m.workDir = client.New(job.Socket), job.WorkDir
	return nil
}

// Address implements cases.Node.
func (m *member) Address() string { return m.address }

// Connect implements cases.Node.
func (m *member) Connect(ctx context.Context, address string) error {
	_, err := m.api.Connect(ctx, control.ConnectRequest{Address: address})
	return err
}

// Restart implements cases.Restarter: the node ends as at SIGTERM, since it lives in this
// process.
func (m *member) Restart(ctx context.Context, abandon func()) error {
	abandon()
	if err := m.Leave(ctx); err != nil {
		return err
	}
	again, err := startNode(ctx, m.dir, m.ip)
	if err != nil {
		return err
	}
	again.device = m.device
	*m = *again
	return nil
}

// Leave implements cases.Node: the node ends.
func (m *member) Leave(context.Context) error {
	stop := m.stop
	m.stop = func() error { return nil }
	m.bridge.Close()
	return stop()
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
func (m *member) Fetch(ctx context.Context, cid string, size int64) (int64, error) {
	files, err := m.bridge.Fetch(ctx, map[string]any{"type": "cids", "values": []string{cid}}, "artifacts")
	if err != nil {
		return 0, err
	}
	if len(files) != 1 {
		return 0, fmt.Errorf("%d files for one CID", len(files))
	}
	f, err := os.Open(filepath.Join(m.workDir, files[0].Path))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return cases.Check(f, size)
}

// Traffic implements cases.Node. It knows what was on the wire alone.
func (m *member) Traffic() cases.Traffic { return deviceTraffic(m.device) }
