package trust

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/client"
	"github.com/hypha-node/hypha-node/testground/rig"
)

// TestFullDisk fills a small file system to the last byte, with the reserve
// switched off, over and over. The daemon answers 507 and lives, what was
// acknowledged can be read while the disk is full, a start on the full disk
// works, and when there is room again everything goes on.
func TestFullDisk(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	t.Run("ext4", func(t *testing.T) { fillAndDrain(t, mount(t, "-o", "loop", image(t, 300<<20))) })
	t.Run("tmpfs", func(t *testing.T) { fillAndDrain(t, mount(t, "-t", "tmpfs", "-o", "size=256m", "tmpfs")) })
}

func fillAndDrain(t *testing.T, dir string) {
	const size = 20 << 20
	o, repo := serve(t), filepath.Join(dir, "repo")
	flags := []string{"--reserve", "0"}
	n := start(t, repo, flags...)
	defer func() { stop(t, n) }()
	ballast := filepath.Join(dir, "ballast")
	seed, acknowledged := uint64(0), map[uint64]rig.Fetched{}
	readable := func(when string) {
		t.Helper()
		for seed, f := range acknowledged {
			if good, r, err := right(t, repo, f.CID, seed, size); err != nil || !good {
				t.Fatalf("%s: acknowledged file %d can't be read: %v %s", when, seed, err, r.Stderr)
			}
		}
	}
	for cycle := range 3 * *rounds {
		_, err := rig.WriteRandom(ballast, 0, 64<<20)
		ok(t, err)
		full := 0
		for tries := 0; full < 3; tries++ {
			if tries > 100 {
				t.Fatal("the disk does not get full")
			}
			seed++
			f, err := fetch(rig.Within(t), n, o, seed, size)
			if err == nil {
				acknowledged[seed] = f
				continue
			}
			var refused *rig.Refused
			if errors.As(err, &refused) && (refused.Status != http.StatusInsufficientStorage || refused.Code != "no_space") {
				t.Fatalf("cycle %d: a full disk answers %v, want 507 no_space", cycle, err)
			}
			full++ // or job create itself had no room, which is an error as well
		}
		select {
		case <-n.Ended():
			t.Fatalf("cycle %d: a full disk ended the daemon: %s", cycle, n.Log())
		default:
		}
		readable("while the disk is full")
		ok(t, n.Stop())
		n = start(t, repo, flags...)
		readable("after a start on the full disk")

		ok(t, os.Remove(ballast))
		seed++
		f, err := fetch(rig.Within(t), n, o, seed, size)
		if err != nil {
			t.Fatalf("cycle %d: with room again: %v", cycle, err)
		}
		acknowledged[seed] = f
		drain(t, n, acknowledged)
	}
	t.Logf("%d files, %d cycles", seed, 3**rounds)
}

// drain gives the space of all but two files back.
func drain(t *testing.T, n *rig.Node, acknowledged map[uint64]rig.Fetched) {
	t.Helper()
	r, err := n.Run(rig.Within(t), "job", "ls", "--json")
	ok(t, err)
	for line := range strings.Lines(r.Stdout) {
		var job rig.Job
		ok(t, json.Unmarshal([]byte(line), &job))
		_, err := n.Run(rig.Within(t), "job", "rm", job.ID)
		ok(t, err)
	}
	_, err = n.Run(rig.Within(t), "gc")
	ok(t, err)
	clear(acknowledged)
}

// TestFullDiskOfReceiver sends a job more than the disk of its node has room for:
// the sender is told so, the receiver lives, nothing stays of it, and with room
// again it arrives.
func TestFullDiskOfReceiver(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	const size = 96 << 20
	disk := mount(t, "-t", "tmpfs", "-o", "size=320m", "tmpfs")
	from, to := &side{repo: filepath.Join(t.TempDir(), "a")}, &side{repo: filepath.Join(disk, "b")}
	from.begin(t, "full")
	to.begin(t, "full", "--reserve", "0")
	defer stop(t, from.node)
	defer stop(t, to.node)
	sum, err := rig.WriteRandom(filepath.Join(from.job.WorkDir, "model"), 5, size)
	ok(t, err)
	peer, _ := to.peer(t)
	address, err := to.node.Address(rig.Within(t))
	ok(t, err)
	_, err = from.node.Run(rig.Within(t), "connect", address)
	ok(t, err)
	ballast := filepath.Join(disk, "ballast")
	_, err = rig.WriteRandom(ballast, 0, 240<<20)
	ok(t, err)
	c := client.New(from.job.Socket)
	defer c.Close()
	_, err = c.Send(rig.Within(t), bridge.SendRequest{Path: "model", Peers: []string{peer}, Timeout: 3 * time.Second})
	var refused *client.Error
	if !errors.As(err, &refused) || refused.Code != "delivery_failed" || refused.Results[0].Error != "no_space" {
		t.Fatalf("a send to a full disk: %v, %+v", err, refused)
	}
	select {
	case <-to.node.Ended():
		t.Fatalf("a full disk ended the daemon: %s", to.node.Log())
	default:
	}
	if left := partFiles(t, to.repo); len(left) > 0 {
		t.Errorf("%d part files are left", len(left))
	}
	ok(t, os.Remove(ballast))
	_, err = c.Send(rig.Within(t), bridge.SendRequest{Path: "model", Peers: []string{peer}})
	ok(t, err)
	files, err := filepath.Glob(filepath.Join(to.repo, "segments", "*.file"))
	ok(t, err)
	if len(files) != 1 {
		t.Errorf("the store has files %q, and should have one of sha256 %s", files, sum)
	}
}
