package rest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/bridge/bridgetest"
)

// The deadline of a body is not one of the work that follows, nor of the next
// request on the connection.
func TestDeadlinesEndWithTheirPart(t *testing.T) {
	const short = 30 * time.Millisecond
	pass := func(ctx context.Context, d time.Duration) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	bubble(t, Config{BodyTimeout: short, SendTimeout: short, Job: &scripted{
		fetch: func(ctx context.Context, _ bridge.FetchRequest) ([]bridge.Result, error) {
			return []bridge.Result{}, pass(ctx, 5*short)
		},
	}}, func(t *testing.T, dial func() net.Conn) {
		conn := dial()
		defer conn.Close()
		r := bufio.NewReader(conn)
		for i := range 3 {
			fmt.Fprint(conn, fetchIt)
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatalf("request %d: %v", i, err)
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
				t.Fatalf("request %d: %s, %v", i, resp.Status, err)
			}
			resp.Body.Close()
			if err := pass(t.Context(), 2*short); err != nil { // longer than the deadline that the answer was written under
				t.Fatal(err)
			}
		}
	})
}

// fetchIt is a request as a client writes it.
const fetchIt = "POST /resources/fetch HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n\"https://h/x\""

// A client that goes away ends the work that was done for it.
func TestDisconnectCancels(t *testing.T) {
	begun, ended := make(chan struct{}), make(chan struct{})
	s := serve(t, Config{Job: &scripted{fetch: func(ctx context.Context, _ bridge.FetchRequest) ([]bridge.Result, error) {
		close(begun)
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	}}})
	conn := dial(t, s.socket)
	fmt.Fprint(conn, fetchIt)
	bridgetest.Wait(t, begun, "the fetch")
	conn.Close()
	bridgetest.Wait(t, ended, "the end of the fetch")
}

// A large answer to a client that reads nothing ends; one that reads slowly gets it all.
func TestSlowReader(t *testing.T) {
	many := make([]bridge.Result, 20_000)
	for i := range many {
		many[i] = bridge.Result{
			Path: fmt.Sprintf("artifacts/%05d", i), Checksum: "sha256:" + strings.Repeat("0", 64), CID: "bafy",
			Metadata: bridge.Metadata{Source: "http", From: "store"},
		}
	}
	bubble(t, Config{SendTimeout: time.Second, Job: &scripted{fetch: func(context.Context, bridge.FetchRequest) ([]bridge.Result, error) {
		return many, nil
	}}}, func(t *testing.T, dial func() net.Conn) {
		silent, slow := dial(), dial()
		defer silent.Close()
		defer slow.Close()
		fmt.Fprint(silent, fetchIt)
		fmt.Fprint(slow, fetchIt)
		resp, err := http.ReadResponse(bufio.NewReader(slow), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var body bytes.Buffer
		for err == nil {
			<-time.After(100 * time.Millisecond)
			_, err = io.CopyN(&body, resp.Body, 16<<10)
		}
		var got []bridge.Result
		if err := json.Unmarshal(body.Bytes(), &got); err != nil || len(got) != len(many) {
			t.Errorf("%d files, %v", len(got), err)
		}
		if n, err := io.Copy(io.Discard, silent); err != nil || n >= int64(body.Len()) { // it was given up
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}

func TestTooManyConnections(t *testing.T) {
	s := serve(t, Config{Job: &scripted{}, MaxConns: 2})
	ask := func(conn net.Conn) (*http.Response, error) {
		fmt.Fprint(conn, "GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
		return http.ReadResponse(bufio.NewReader(conn), nil)
	}
	var held []net.Conn
	for range 2 {
		conn := dial(t, s.socket)
		resp, err := ask(conn)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(resp, err)
		}
		resp.Body.Close()
		held = append(held, conn)
	}
	conn := dial(t, s.socket)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(body), `"busy"`) {
		t.Errorf("%s %s %v", resp.Status, body, err)
	}
	resp.Body.Close()
	conn.Close()
	for _, c := range held {
		c.Close()
	}
	bridgetest.Until(t, "a free slot", func() bool {
		conn := dial(t, s.socket)
		defer conn.Close()
		resp, err := ask(conn)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// While two hundred requests are under way, another is answered.
func TestManyRequestsAtOnce(t *testing.T) {
	const n = 200
	begun, release := make(chan struct{}, n), make(chan struct{})
	s := serve(t, Config{Job: &scripted{fetch: func(context.Context, bridge.FetchRequest) ([]bridge.Result, error) {
		begun <- struct{}{}
		<-release
		return []bridge.Result{}, nil
	}}})
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if a, _, err := s.try(t.Context(), http.MethodPost, "/resources/fetch", "application/json", `"https://h/x"`); err != nil || a.status != http.StatusOK {
				t.Errorf("%d %v", a.status, err)
			}
		})
	}
	for range n {
		<-begun
	}
	if a := s.get("/healthz"); a.status != http.StatusOK {
		t.Errorf("%d", a.status)
	}
	close(release)
	wg.Wait()
}

// Serve lets short work end and cancels the rest, which is told why.
func TestShutdown(t *testing.T) {
	begun := make(chan struct{})
	s := serve(t, Config{Grace: 20 * time.Millisecond, Job: &scripted{fetch: func(ctx context.Context, _ bridge.FetchRequest) ([]bridge.Result, error) {
		close(begun)
		<-ctx.Done()
		return nil, ctx.Err()
	}}})
	got := make(chan answer, 1)
	go func() {
		a, _, err := s.try(t.Context(), http.MethodPost, "/resources/fetch", "application/json", `"https://h/x"`)
		if err != nil {
			t.Error(err)
		}
		got <- a
	}()
	bridgetest.Wait(t, begun, "the fetch")
	s.stop()
	if a := <-got; a.status != http.StatusServiceUnavailable || a.problem(t).Error != "shutting_down" {
		t.Errorf("%d %s", a.status, a.body)
	}
	if _, err := os.Lstat(s.socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}
