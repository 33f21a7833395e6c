package trust

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/client"
	"github.com/hypha-node/hypha-node/testground/rig"
)

// narrows is a TCP forwarder between two nodes that stops after a count of bytes.
type narrows struct {
	net.Listener
	to string
	wg sync.WaitGroup

	mu    sync.Mutex
	left  int64         // bytes that still go from who dialled to who listens
	moved chan struct{} // closed when left grows
	given int64         // bytes that went that way
	ended chan struct{}
}

// openNarrows forwards to an address until the test ends.
func openNarrows(t *testing.T, to string) *narrows {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	ok(t, err)
	n := &narrows{Listener: l, to: to, moved: make(chan struct{}), ended: make(chan struct{})}
	n.wg.Go(func() { n.accept(t.Context()) })
	return n
}

// shut ends all connections and waits for what forwards.
func (n *narrows) shut(t *testing.T) {
	t.Helper()
	close(n.ended)
	ok(t, n.Close())
	n.wg.Wait()
}

// let lets so many bytes more through.
func (n *narrows) let(more int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.left += more
	close(n.moved)
	n.moved = make(chan struct{})
}

func (n *narrows) bytes() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.given
}

func (n *narrows) accept(ctx context.Context) {
	for {
		in, err := n.Accept()
		if err != nil {
			return
		}
		out, err := new(net.Dialer).DialContext(ctx, "tcp", n.to)
		if err != nil {
			in.Close()
			continue
		}
		end := sync.OnceFunc(func() { in.Close(); out.Close() })
		gone := make(chan struct{})
		n.wg.Go(func() {
			select {
			case <-n.ended:
				end()
			case <-gone:
			}
		})
		n.wg.Go(func() {
			defer close(gone)
			defer end()
			n.forward(out, in)
		})
		n.wg.Go(func() {
			defer end()
			if _, err := io.Copy(in, out); err != nil {
				return // the other direction ends, too
			}
		})
	}
}

// forward moves bytes as long as some are left.
func (n *narrows) forward(to io.Writer, from io.Reader) {
	buf := make([]byte, 64<<10)
	for {
		got, err := from.Read(buf)
		for b := buf[:got]; len(b) > 0; {
			some, more := n.take(len(b))
			if more != nil {
				select {
				case <-more:
					continue
				case <-n.ended:
					return
				}
			}
			if _, err := to.Write(b[:some]); err != nil {
				return
			}
			b = b[some:]
		}
		if err != nil {
			return
		}
	}
}

// take takes up to want bytes of what is left; with none left it returns what is
// closed when there are more.
func (n *narrows) take(want int) (int, <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	some := int(min(int64(want), n.left))
	if some == 0 {
		return 0, n.moved
	}
	n.left -= int64(some)
	n.given += int64(some)
	return some, nil
}

// side is one node of a transfer, and its job.
type side struct {
	repo string
	node *rig.Node
	job  rig.Job
}

// begin starts the node, with its job of that id if it has none yet.
func (s *side) begin(t *testing.T, id string, args ...string) {
	t.Helper()
	s.node = start(t, s.repo, args...)
	if s.job.ID != "" {
		return
	}
	r, err := s.node.Run(rig.Within(t), "job", "create", "--json", "--id", id)
	ok(t, err)
	ok(t, json.Unmarshal([]byte(r.Stdout), &s.job))
}

// idle waits until the job takes part in no transfer.
func (s *side) idle(t *testing.T) {
	t.Helper()
	c := client.New(s.job.Socket)
	defer c.Close()
	eventually(t, "the transfer that was cut has ended", func() bool {
		info, err := c.Job(rig.Within(t))
		ok(t, err)
		return info.Use.Transfers == 0
	})
}

// peer returns the node's peer id and where it listens.
func (s *side) peer(t *testing.T) (id, hostport string) {
	t.Helper()
	a, err := s.node.Address(rig.Within(t))
	ok(t, err)
	parts := strings.Split(a, "/")
	return parts[len(parts)-1], net.JoinHostPort(parts[2], parts[4])
}

// TestKillBetweenPeers kills the receiver, or the sender, of a file with SIGKILL in
// the middle, again and again, and holds that the next send goes on: at most one
// window (32 MiB) of what had come moves again, the content is right, and no part
// file stays.
func TestKillBetweenPeers(t *testing.T) {
	const (
		size   = 128 << 20
		step   = 40 << 20
		kills  = 2
		window = 32 << 20
	)
	for _, victim := range []string{"receiver", "sender"} {
		t.Run(victim, func(t *testing.T) {
			id := "k-" + strings.ToLower(rand.Text())
			dir := t.TempDir()
			from, to := &side{repo: filepath.Join(dir, "a")}, &side{repo: filepath.Join(dir, "b")}
			from.begin(t, id)
			to.begin(t, id)
			sum, err := rig.WriteRandom(filepath.Join(from.job.WorkDir, "model"), 5, size)
			ok(t, err)
			dead := to
			if victim == "sender" {
				dead = from
			}
			var moved int64
			for range kills {
				moved += sendThrough(t, from, to, step, func() { ok(t, dead.node.Kill()) })
				dead.begin(t, id)
				to.idle(t)
			}
			moved += sendThrough(t, from, to, 2*size, nil)
			if most := int64(size + kills*window + size/20); moved > most {
				t.Errorf("%d bytes moved with %d kills, want at most %d", moved, kills, most)
			}
			t.Logf("%d kills of the %s, %d bytes moved of %d", kills, victim, moved, size)
			c := client.New(to.job.Socket)
			defer c.Close()
			item, got, err := c.ReceiveOne(rig.Within(t), bridge.ReceiveRequest{})
			ok(t, err)
			inDir, err := rig.HashFile(filepath.Join(to.job.WorkDir, item.Path))
			if err != nil || !got || inDir != sum {
				t.Errorf("received %v, sha256 %s, %v, want %s", got, inDir, err, sum)
			}
			if left := partFiles(t, to.repo); len(left) > 0 {
				t.Errorf("%d part files are left", len(left))
			}
			stop(t, from.node)
			stop(t, to.node)
		})
	}
}

// sendThrough sends over a way that lets so many bytes through, and calls then when
// they are there; a nil one waits for the send. It returns how many moved.
func sendThrough(t *testing.T, from, to *side, let int64, then func()) int64 {
	t.Helper()
	peer, address := to.peer(t)
	way := openNarrows(t, address)
	defer way.shut(t)
	way.let(let)
	_, port, err := net.SplitHostPort(way.Addr().String())
	ok(t, err)
	_, err = from.node.Run(rig.Within(t), "connect", fmt.Sprintf("/ip4/127.0.0.1/tcp/%s/p2p/%s", port, peer))
	ok(t, err)
	c := client.New(from.job.Socket)
	defer c.Close()
	ctx, cancel := context.WithCancel(rig.Within(t))
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := c.Send(ctx, bridge.SendRequest{Path: "model", Peers: []string{peer}})
		done <- err
	}()
	if then == nil {
		ok(t, <-done)
		return way.bytes()
	}
	eventually(t, "all that the way lets through is there", func() bool { return way.bytes() == let })
	then()
	cancel()
	if err := <-done; err == nil {
		t.Fatal("a send was answered of which not all was sent")
	}
	return way.bytes()
}
