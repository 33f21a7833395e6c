package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, start := &pace{rate: 1000}, time.Now()
		for i, want := range []time.Duration{time.Second, 3 * time.Second} { // the second waits for the first
			if got := p.after(1000 * (i + 1)).Sub(start); got != want {
				t.Errorf("%d: after %v, want %v", i, got, want)
			}
		}
		time.Sleep(10 * time.Second) //nolint:forbidigo // virtual
		if got := p.after(500).Sub(start); got != 10*time.Second+500*time.Millisecond {
			t.Errorf("after a pause: %v", got)
		}
		for _, none := range []*pace{nil, {}} {
			if got := none.after(1 << 30); !got.Equal(time.Now()) {
				t.Errorf("without a limit: %v", got)
			}
		}
	})
}

// source sends content to whoever connects, and ends with the test.
func source(t *testing.T, content []byte) (addr string) {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Write(content)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
	})
	return l.Addr().String()
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp4", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestLinkRelays(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<15)
	k, err := newLink(t.Context(), source(t, content), shape{delay: time.Millisecond, each: 1 << 30, all: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(dial(t, k.Addr))
	if err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := k.close(); err != nil {
		t.Error(err)
	}
}

// TestLinkStalls: one connection goes silent, the next one does not, and the link
// ends all the same.
func TestLinkStalls(t *testing.T) {
	content := make([]byte, 1<<20)
	k, err := newLink(context.WithoutCancel(t.Context()), source(t, content), shape{})
	if err != nil {
		t.Fatal(err)
	}
	k.stall.Store(100 << 10)
	silent := dial(t, k.Addr)
	if _, err := io.ReadFull(silent, make([]byte, 100<<10)); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(dial(t, k.Addr)); err != nil || len(got) != len(content) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := k.close(); err != nil {
		t.Error(err)
	}
	if rest, _ := io.ReadAll(silent); len(rest) > 64<<10 {
		t.Errorf("%d bytes more from a silent connection", len(rest))
	}
}
