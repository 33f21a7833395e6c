package rest

import (
	"bufio"
	"context"
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
	release := make(chan struct{})
	s := serve(t, Config{BodyTimeout: short, SendTimeout: short, Job: &scripted{
		fetch: func(ctx context.Context, _ bridge.FetchRequest) ([]bridge.Result, error) {
			select {
			case <-release:
				return []bridge.Result{}, nil
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		},
	}})
	timer := time.AfterFunc(5*short, func() { close(release) })
	defer timer.Stop()
	conn := dial(t, s.socket)
	defer conn.Close()
	r := bufio.NewReader(conn)
	const body = `"https://h/x"`
	for i := range 3 {
		fmt.Fprintf(conn, "POST /resources/fetch HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("request %d: %s, %v", i, resp.Status, err)
		}
		resp.Body.Close()
		pause := time.NewTimer(2 * short) // longer than the deadline that the answer was written under
		<-pause.C
	}
}

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
	fmt.Fprint(conn, "POST /resources/fetch HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n\"https://h/x\"")
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
	s := serve(t, Config{SendTimeout: 100 * time.Millisecond, Job: &scripted{fetch: func(context.Context, bridge.FetchRequest) ([]bridge.Result, error) {
		return many, nil
	}}})
	conn := dial(t, s.socket)
	defer conn.Close()
	fmt.Fprint(conn, "POST /resources/fetch HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n\"https://h/x\"")
	// Stop has to wait for the handler: that it returns is the proof.
	r := bufio.NewReader(conn)
	if _, err := r.Peek(1); err != nil {
		t.Fatal(err)
	}
	if a := s.fetch(`"https://h/x"`); len(a.files(t)) != len(many) {
		t.Errorf("%d files", len(a.files(t)))
	}
	s.stop()
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
