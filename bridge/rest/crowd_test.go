package rest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/bridge"
)

// A thousand clients at once, each on a connection of its own, of every kind: all
// are answered, and those who wait hold up nobody.
func TestThousandClients(t *testing.T) {
	const n = 1000
	b, job := queue(0)
	job.fetch = func(ctx context.Context, _ bridge.FetchRequest) ([]bridge.Result, error) {
		return []bridge.Result{}, ctx.Err()
	}
	s := serve(t, Config{Job: job, HeaderTimeout: time.Minute}) // who has connected waits for the others
	var ready, wg sync.WaitGroup
	ready.Add(n)
	for i := range n {
		wg.Go(func() {
			conn := dial(t, s.socket)
			defer conn.Close()
			ready.Done()
			ready.Wait() // all are connected
			method, path, body, status := crowd(i)
			client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}}
			defer client.CloseIdleConnections()
			req, err := http.NewRequestWithContext(t.Context(), method, "http://bridge"+path, strings.NewReader(body))
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Content-Type", "application/json")
			resp, err := client.Do(req)
			if err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			defer resp.Body.Close()
			if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != status {
				t.Errorf("client %d: %s %s: %s, %v", i, method, path, resp.Status, err)
			}
		})
	}
	ready.Wait()
	for range n / 5 { // one for each who waits for an item
		b.put()
	}
	wg.Wait()
	if waiting, acked := b.state(); waiting != 0 || len(acked) != n/5 {
		t.Errorf("%d wait, %d acknowledged", waiting, len(acked))
	}
}

// crowd returns what client i asks for and the status that it must get.
func crowd(i int) (method, path, body string, status int) {
	switch i % 5 {
	case 0:
		return http.MethodPost, "/resources/receive", `{"receive":` + anyPeer + `,"timeout":null}`, http.StatusOK
	case 1:
		return http.MethodPost, "/resources/fetch", `"https://h/x"`, http.StatusOK
	case 2:
		return http.MethodPost, "/resources/send", `{"send":` + onePeer + `,"path":"x"}`, http.StatusOK
	case 3:
		return http.MethodPost, "/resources/send", strings.Repeat(" ", smallBody) + `{"path":`, http.StatusBadRequest
	}
	return http.MethodGet, "/job", "", http.StatusOK
}

// Clients that never end their header hold a connection each for a while, and
// nobody up.
func TestSlowloris(t *testing.T) {
	s := serve(t, Config{Job: &scripted{}, HeaderTimeout: 2 * time.Second})
	s.get("/healthz") // its connection stays: the timeout is not that of a busy test
	var wg sync.WaitGroup
	for i := range 100 {
		conn := dial(t, s.socket)
		wg.Go(func() {
			defer conn.Close()
			// Some say nothing, some a part, some more and more of it.
			for part := range strings.SplitAfterSeq("POST /resources/send HTTP/1.1\r\nHost: h\r\nX-A: b\r\n", "\n") {
				if i%3 == 0 {
					break
				}
				if _, err := io.WriteString(conn, part); err != nil || i%3 == 1 {
					break
				}
			}
			if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Error(err)
				return
			}
			if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) { // until the server closes
				t.Errorf("client %d is still connected", i)
			}
		})
		if a := s.get("/healthz"); a.status != http.StatusOK {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	wg.Wait()
}

// HTTP/2 with prior knowledge is the same API, streams and their end included.
func TestT1PriorKnowledge(t *testing.T) {
	b, job := queue(1)
	gone := make(chan struct{})
	receive := job.receive
	job.receive = func(ctx context.Context, r bridge.ReceiveRequest) iter.Seq2[bridge.Received, error] {
		return func(yield func(bridge.Received, error) bool) {
			receive(ctx, r)(yield)
			close(gone)
		}
	}
	s := serve(t, Config{Job: job})
	tr, ok := s.client.Transport.(*http.Transport)
	if !ok {
		t.Fatalf("%T", s.client.Transport)
	}
	tr.Protocols = new(http.Protocols)
	tr.Protocols.SetUnencryptedHTTP2(true)
	if a := s.get("/job"); a.status != http.StatusOK {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := s.post("/resources/send", `{"send":`+onePeer+`,"path":7}`); a.status != http.StatusUnprocessableEntity {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := s.post("/resources/put", `{"pad":"`+strings.Repeat("a", maxBody)+`"}`); a.status != http.StatusRequestEntityTooLarge {
		t.Errorf("%d %s", a.status, a.body)
	}
	st := s.open("/resources/receive", `{"receive":`+anyPeer+`}`)
	if st.resp.ProtoMajor != 2 {
		t.Errorf("%s", st.resp.Proto)
	}
	for i := range 2 {
		if e := st.next(); e.id != fmt.Sprint(i) {
			t.Errorf("%+v", e)
		}
		b.put()
	}
	st.close()
	<-gone
}

// One connection can't hold more requests than many could.
func TestCrowdOnOneConnection(t *testing.T) {
	const most = 3
	begun, release := make(chan struct{}, most), make(chan struct{})
	s := serve(t, Config{MaxConns: most, Job: &scripted{fetch: func(context.Context, bridge.FetchRequest) ([]bridge.Result, error) {
		begun <- struct{}{}
		<-release
		return []bridge.Result{}, nil
	}}})
	tr, ok := s.client.Transport.(*http.Transport)
	if !ok {
		t.Fatalf("%T", s.client.Transport)
	}
	tr.Protocols = new(http.Protocols)
	tr.Protocols.SetUnencryptedHTTP2(true)
	s.get("/healthz") // the connection is there
	var wg sync.WaitGroup
	for range most {
		wg.Go(func() {
			if a, _, err := s.try(t.Context(), http.MethodPost, "/resources/fetch", "application/json", `"https://h/x"`); err != nil || a.status != http.StatusOK {
				t.Errorf("%d %v", a.status, err)
			}
		})
	}
	for range most {
		<-begun
	}
	a, _, err := s.try(t.Context(), http.MethodGet, "/healthz", "", "")
	if err != nil || a.status != http.StatusServiceUnavailable || a.problem(t).Error != "busy" || a.header.Get("Retry-After") != "1" {
		t.Errorf("%d %s, %v", a.status, a.body, err)
	}
	close(release)
	wg.Wait()
}
