package rest

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
)

// A client that computes for a long time before it reads loses nothing, and is in
// nobody's way; when it goes, what it did not get goes back.
func TestStuckReader(t *testing.T) {
	const n = 2000 // many times what a socket holds
	b, job := queue(n)
	receive := job.receive
	ended := make(chan struct{}, 2)
	job.receive = func(ctx context.Context, r bridge.ReceiveRequest) iter.Seq2[bridge.Received, error] {
		return func(yield func(bridge.Received, error) bool) {
			receive(ctx, r)(yield)
			ended <- struct{}{}
		}
	}
	s := serve(t, Config{Job: job, KeepAlive: time.Millisecond})
	conn := dial(t, s.socket)
	body := `{"receive":` + anyPeer + `}`
	fmt.Fprintf(conn, "POST /resources/receive HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	stuck := func() bool {
		_, before := b.state()
		for range 50 {
			if a := s.get("/healthz"); a.status != http.StatusOK {
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
		_, after := b.state()
		return len(after) > 0 && len(before) == len(after)
	}
	bridgetest.Until(t, "a full socket", stuck)
	// It reads a part, and goes.
	if _, err := io.CopyN(io.Discard, conn, 64<<10); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	<-ended
	waiting, acked := b.state()
	if waiting+len(acked) != n || waiting == 0 {
		t.Errorf("%d wait, %d acknowledged", waiting, len(acked))
	}
	st := s.open("/resources/receive", body)
	defer st.close()
	for range waiting {
		st.next()
	}
}

// A stuck reader does not hold up the end of the bridge.
func TestStuckReaderAtShutdown(t *testing.T) {
	b, job := queue(2000)
	s := serve(t, Config{Job: job, Grace: time.Millisecond})
	conn := dial(t, s.socket)
	defer conn.Close()
	body := `{"receive":` + anyPeer + `}`
	fmt.Fprintf(conn, "POST /resources/receive HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	bridgetest.Until(t, "an event", func() bool { _, acked := b.state(); return len(acked) > 0 })
	s.stop() // returns, without an error
	if waiting, acked := b.state(); waiting+len(acked) != 2000 || waiting == 0 {
		t.Errorf("%d wait, %d acknowledged", waiting, len(acked))
	}
}

// The same with a real job, which waits for what it gives: the end of both takes
// no longer than the client is allowed.
func TestStuckReaderOfRealJob(t *testing.T) {
	a, b, _ := pair(t)
	if err := os.WriteFile(filepath.Join(a.dir, "m"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	const n = 600 // several times what a socket holds
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for range n / 20 {
				if _, err := a.job.Send(t.Context(), bridge.SendRequest{Peers: []string{"peer-b"}, Path: "m"}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	conn := dial(t, b.socket)
	defer conn.Close()
	body := `{"receive":` + anyPeer + `}`
	fmt.Fprintf(conn, "POST /resources/receive HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	var last int64
	bridgetest.Until(t, "a full socket", func() bool {
		before := last
		for range 50 {
			b.get("/healthz")
		}
		last = b.job.Stats().Received
		return last > 0 && last == before
	})
	ended := make(chan struct{})
	go func() { // in the order in which jobs end
		defer close(ended)
		b.stop()
	}()
	b.job.Stop()
	bridgetest.Wait(t, ended, "the end of Serve")
	if left, got := b.job.Info().Use.InboxItems, b.job.Stats().Received; left == 0 || left+got != n {
		t.Errorf("%d of %d items are left, %d were received", left, n, got)
	}
}
