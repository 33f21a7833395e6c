package trust

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// TestNoDescriptors runs a daemon that may open few files and takes all of them
// away with connections to a job's socket. While they are open it answers or
// refuses; when they are gone it does everything again, and nothing that was
// acknowledged is lost.
func TestNoDescriptors(t *testing.T) {
	const limit, size = 96, 3 << 20
	dir := t.TempDir()
	limited := filepath.Join(dir, "limited")
	ok(t, os.WriteFile(limited, fmt.Appendf(nil, "#!/bin/sh\nulimit -n %d\nexec %q \"$@\"\n", limit, binary), 0o700))
	n, err := rig.StartNode(rig.Within(t), rig.Config{Binary: limited, Repo: filepath.Join(dir, "repo")})
	ok(t, err)
	n.Binary = binary // of commands
	o := serve(t)
	job, err := n.CreateJob(rig.Within(t))
	ok(t, err)
	before, err := job.Fetch(rig.Within(t), rig.URI(o.url(1, size)))
	ok(t, err)

	var conns []net.Conn
	hang := func() {
		t.Helper()
		for range 2 * limit { // what is not accepted waits in the kernel, or is refused
			c, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "unix", job.Socket)
			if err != nil {
				return
			}
			conns = append(conns, c)
			_, err = c.Write([]byte("POST /resources/fetch HTTP/1.1\r\nHost: x\r\n")) // and no end
			ok(t, err)
		}
	}
	open := func() int {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.PID()))
		ok(t, err)
		return len(entries)
	}
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		t.Skip("no /proc")
	}
	for round := range uint64(2) {
		hang()
		eventually(t, "no descriptor is left", func() bool { return open() >= limit-1 })
		failed := make(chan error, 1)
		go func() {
			ctx := rig.Within(t)
			_, err := n.Run(ctx, "fetch", o.url(10+round, size), "-o", t.TempDir())
			failed <- err
		}()
		for _, c := range conns {
			ok(t, c.Close())
		}
		conns = nil
		if err := <-failed; err != nil {
			t.Logf("without descriptors: %v", err) // an answer all the same
		}
		select {
		case <-n.Ended():
			t.Fatalf("the daemon has ended: %s", n.Log())
		default:
		}
		got, err := job.Fetch(rig.Within(t), rig.URI(o.url(20+round, size)))
		ok(t, err)
		want, err := sum(20+round, size)
		ok(t, err)
		if got[0].Checksum != "sha256:"+want {
			t.Errorf("%+v, want sha256 %s", got[0], want)
		}
		again, err := job.Fetch(rig.Within(t), rig.URI(o.url(1, size)))
		if err != nil || again[0].CID != before[0].CID || again[0].Metadata.From != "store" {
			t.Errorf("%+v, %v, it was %+v", again, err, before)
		}
	}
	stop(t, n)
	if r, err := hypha(rig.Within(t), n.Repo, "verify"); err != nil {
		t.Errorf("verify: %v %s", err, r.Stdout)
	}
}
