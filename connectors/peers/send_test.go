package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/dag"
)

func TestSendSizes(t *testing.T) {
	for i, size := range []int{0, 1, 1000, maxInline, maxInline + 1, 1 << 20, 1<<20 + 1, 5<<20 + 17} {
		for _, o := range []dag.ImportOptions{{}, {Profile: dag.V0_2015()}} {
			t.Run(fmt.Sprint(size, o.Profile), func(t *testing.T) {
				a, b := pair(t)
				data := content(uint64(i), size)
				f := a.add(t, data, o)
				var progress int64
				var mu sync.Mutex
				r, err := a.Send(bounded(t), b.Self(), offer("t1", f), SendOptions{Progress: func(n int64) {
					mu.Lock()
					defer mu.Unlock()
					progress += n
				}})
				if err != nil {
					t.Fatal(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if !r.Delivered || r.Moved < int64(size) || r.Moved > int64(size+size/8+4096) || progress != r.Moved {
					t.Errorf("receipt is %+v, progress %d", r, progress)
				}
				b.has(t, f, data)
				if got, err := b.store.File(t.Context(), f.Root); err != nil || got != f {
					t.Errorf("file is %+v, %v", got, err)
				}
				kept, dropped := b.inbox.state()
				if !slices.Equal(kept, []string{"t1"}) || len(dropped) != 0 || b.inbox.from[0] != a.Self() {
					t.Errorf("kept %q, dropped %v, from %q", kept, dropped, b.inbox.from)
				}
			})
		}
	}
}

func TestOfferArrivesWhole(t *testing.T) {
	a, b := pair(t)
	f := a.add(t, content(1, 10), dag.ImportOptions{})
	o := Offer{Transfer: "a.b_C-9", Job: "jöb", Channel: "c", Task: "me", Name: "../evil\n\u0000", Seq: 7, After: "t0", File: f, Secret: "s3"}
	var right, wrong, none bool
	b.inbox.offered = func(_ Offer, proven func(string) bool) error {
		right, wrong, none = proven("s3"), proven("s4"), proven("")
		return nil
	}
	if _, err := a.Send(bounded(t), b.Self(), o, SendOptions{}); err != nil {
		t.Fatal(err)
	}
	if !right || wrong || none {
		t.Errorf("proven: right %v, wrong %v, none %v", right, wrong, none)
	}
	o.Secret = ""
	if got := b.inbox.offers[0]; fmt.Sprint(got) != fmt.Sprint(o) {
		t.Errorf("offer is %+v, want %+v", got, o)
	}
	b.inbox.offered = func(_ Offer, proven func(string) bool) error {
		right, none = proven("s3"), proven("")
		return nil
	}
	o.Transfer = "t2"
	if _, err := a.Send(bounded(t), b.Self(), o, SendOptions{}); err != nil {
		t.Fatal(err)
	}
	if right || none {
		t.Error("an offer without a secret proves one")
	}
}

// TestMAC changes each field of an offer: none passes under the MAC of another.
func TestMAC(t *testing.T) {
	a, b := newHost(t).ID(), newHost(t).ID()
	f := fileOf(t, content(1, 10))
	o := Offer{Transfer: "t", Job: "jo", Channel: "b", Task: "t", Name: "n", Seq: 1, After: "s", File: f, Others: []string{"x", "yz"}}
	mac := o.mac(a, b, "secret")
	if !bytes.Equal(mac, o.mac(a, b, "secret")) {
		t.Error("the MAC is not the same twice")
	}
	for name, change := range map[string]func(o *Offer){
		"transfer": func(o *Offer) { o.Transfer = "u" }, "job": func(o *Offer) { o.Job = "j" }, "channel": func(o *Offer) { o.Channel = "" },
		"border": func(o *Offer) { o.Job, o.Channel = "job", "" }, "task": func(o *Offer) { o.Task = "" }, "name": func(o *Offer) { o.Name = "m" },
		"number": func(o *Offer) { o.Seq = 2 }, "after": func(o *Offer) { o.After = "" }, "size": func(o *Offer) { o.File.Size++ },
		"sha256": func(o *Offer) { o.File.SHA256[31]++ }, "root": func(o *Offer) { o.File.Root = cid.NewCidV0(f.Root.Hash()) },
		"others": func(o *Offer) { o.Others = []string{"xy", "z"} }, "fewer": func(o *Offer) { o.Others = o.Others[:1] },
	} {
		other := o
		change(&other)
		if bytes.Equal(mac, other.mac(a, b, "secret")) {
			t.Errorf("another %s has the same MAC", name)
		}
	}
	if bytes.Equal(mac, o.mac(b, a, "secret")) || bytes.Equal(mac, o.mac(a, b, "other")) {
		t.Error("the way back, or another secret, has the same MAC")
	}
}

func TestRefusals(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		code string
	}{
		{"not in job", &Refusal{Code: CodeNotInJob, Detail: "who?"}, CodeNotInJob},
		{"busy", &Refusal{Code: CodeBusy, RetryAfter: 1500e6}, CodeBusy},
		{"internal", errors.New("secret detail"), CodeInternal},
	} {
		for _, size := range []int{100, maxInline, 3 << 20} {
			t.Run(fmt.Sprint(tc.name, size), func(t *testing.T) {
				a, b := pair(t)
				f := a.add(t, content(1, size), dag.ImportOptions{})
				b.inbox.refuse = tc.err
				_, err := a.Send(bounded(t), b.Self(), offer("t", f), SendOptions{})
				if refusal(err) != tc.code || bytes.Contains([]byte(err.Error()), []byte("secret")) {
					t.Errorf("error is %v", err)
				}
				var no *Refusal
				if errors.As(err, &no); tc.code == CodeBusy && no.RetryAfter != 1500e6 {
					t.Errorf("retry after %v", no.RetryAfter)
				}
				b.empty(t)
				b.inbox.refuse, b.inbox.keepErr = nil, tc.err
				if _, err := a.Send(bounded(t), b.Self(), offer("t", f), SendOptions{}); refusal(err) != tc.code {
					t.Errorf("error of Keep is %v", err)
				}
			})
		}
	}
}

func TestNeverTwice(t *testing.T) {
	a, b := pair(t)
	f := a.add(t, content(1, 3<<20), dag.ImportOptions{})
	for i := range 3 {
		r, err := a.Send(bounded(t), b.Self(), offer("same", f), SendOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if r.Delivered != (i == 0) || i > 0 && r.Moved != 0 {
			t.Errorf("attempt %d: %+v", i, r)
		}
	}
	if r, err := a.Send(bounded(t), b.Self(), offer("other", f), SendOptions{}); err != nil || !r.Delivered || r.Moved != 0 {
		t.Errorf("a file that is there: %+v, %v", r, err)
	}
	if kept, _ := b.inbox.state(); !slices.Equal(kept, []string{"same", "other"}) {
		t.Errorf("kept %q", kept)
	}
}

func TestConcurrentAttempts(t *testing.T) {
	a, b := pair(t)
	f := a.add(t, content(1, 2<<20), dag.ImportOptions{})
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			_, err := a.Send(bounded(t), b.Self(), offer("same", f), SendOptions{})
			if err != nil && refusal(err) != CodeCancelled {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if kept, _ := b.inbox.state(); !slices.Equal(kept, []string{"same"}) {
		t.Errorf("kept %q", kept)
	}
}

// TestOrder sends files at once whose turns come in the order of their numbers.
func TestOrder(t *testing.T) {
	a, b := pair(t)
	const n = 40
	turns := make([]chan struct{}, n+1)
	for i := range turns {
		turns[i] = make(chan struct{})
	}
	close(turns[0])
	var all sync.WaitGroup
	var want []string
	for i := range n {
		f := a.add(t, content(uint64(i), 100+(i%3)*(2<<20)), dag.ImportOptions{})
		name := fmt.Sprintf("t%d", i)
		want = append(want, name)
		all.Go(func() {
			defer close(turns[i+1])
			_, err := a.Send(bounded(t), b.Self(), offer(name, f), SendOptions{Turn: func(ctx context.Context) error {
				select {
				case <-turns[i]:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if kept, _ := b.inbox.state(); !slices.Equal(kept, want) {
		t.Errorf("kept %q", kept)
	}
}

func TestTurnFails(t *testing.T) {
	a, b := pair(t)
	for i, size := range []int{100, 3 << 20} {
		f := a.add(t, content(1, size), dag.ImportOptions{})
		offered := make(chan struct{})
		b.inbox.offered = func(Offer, func(string) bool) error { close(offered); return nil }
		_, err := a.Send(bounded(t), b.Self(), offer("t", f), SendOptions{Turn: func(context.Context) error {
			<-offered
			return errors.ErrUnsupported
		}})
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("error is %v", err)
		}
		b.inbox.until(t, "drop", func(_ []string, dropped []error) bool { return len(dropped) == i+1 })
	}
}

func TestLoop(t *testing.T) {
	a := newNode(t, nil)
	f := a.add(t, content(1, 3<<20), dag.ImportOptions{})
	o := offer("t", f)
	o.Secret = "x"
	var right, wrong bool
	a.inbox.offered = func(_ Offer, proven func(string) bool) error {
		right, wrong = proven("x"), proven("")
		return nil
	}
	for i := range 2 {
		turned := false
		r, err := a.Send(bounded(t), a.Self(), o, SendOptions{Turn: func(context.Context) error { turned = true; return nil }})
		if err != nil || r.Moved != 0 || r.Delivered != (i == 0) || turned != (i == 0) {
			t.Errorf("attempt %d: %+v, %v", i, r, err)
		}
	}
	if !right || wrong || a.inbox.from[0] != a.Self() || a.inbox.offers[0].Secret != "" {
		t.Errorf("proven %v %v, from %q, offer %+v", right, wrong, a.inbox.from, a.inbox.offers[0])
	}
	if err := a.Reach(bounded(t), a.Self()); err != nil {
		t.Error(err)
	}
}

func TestSenderCancels(t *testing.T) {
	a, b := pair(t)
	for i, size := range []int{100, 3 << 20} {
		f := a.add(t, content(1, size), dag.ImportOptions{})
		ctx, cancel := context.WithCancel(bounded(t))
		_, err := a.Send(ctx, b.Self(), offer("t", f), SendOptions{Turn: func(ctx context.Context) error {
			cancel()
			<-ctx.Done()
			return ctx.Err()
		}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
		_ = i
	}
	f := a.add(t, content(2, 3<<20), dag.ImportOptions{})
	ctx, cancel := context.WithCancel(bounded(t))
	b.inbox.offered = func(Offer, func(string) bool) error { cancel(); return nil }
	if _, err := a.Send(ctx, b.Self(), offer("u", f), SendOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	b.inbox.until(t, "an end", func(kept []string, dropped []error) bool { return len(kept)+len(dropped) == b.inbox.seen() })
}

func TestReceiverCancels(t *testing.T) {
	a, b := pair(t)
	b.inbox.finished = make(chan struct{})
	b.inbox.offered = func(Offer, func(string) bool) error { close(b.inbox.finished); return nil }
	f := a.add(t, content(2, 3<<20), dag.ImportOptions{})
	turn := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	if _, err := a.Send(bounded(t), b.Self(), offer("u", f), SendOptions{Turn: turn}); refusal(err) != CodeCancelled {
		t.Errorf("error is %v", err)
	}
}

func TestCloseEndsTransfers(t *testing.T) {
	turn := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	t.Run("receiver", func(t *testing.T) {
		a, b := pair(t)
		f := a.add(t, content(2, 3<<20), dag.ImportOptions{})
		b.inbox.offered = func(Offer, func(string) bool) error { go b.Close(); return nil }
		if _, err := a.Send(bounded(t), b.Self(), offer("u", f), SendOptions{Turn: turn}); err == nil {
			t.Error("no error")
		}
		b.Close()
		if _, dropped := b.inbox.state(); len(dropped) != 1 {
			t.Errorf("dropped %v", dropped)
		}
	})
	t.Run("sender", func(t *testing.T) {
		a, b := pair(t)
		f := a.add(t, content(2, 3<<20), dag.ImportOptions{})
		b.inbox.offered = func(Offer, func(string) bool) error { go a.Close(); return nil }
		if _, err := a.Send(bounded(t), b.Self(), offer("u", f), SendOptions{Turn: turn}); !errors.Is(err, ErrClosed) {
			t.Errorf("error is %v", err)
		}
		if _, err := a.Send(bounded(t), b.Self(), offer("u", f), SendOptions{}); !errors.Is(err, ErrClosed) {
			t.Errorf("error is %v", err)
		}
		b.inbox.until(t, "drop", func(_ []string, dropped []error) bool { return len(dropped) == 1 })
	})
}

// openDisk opens a store that keeps the beginning of files.
func openDisk(t *testing.T) blockstore.Store {
	t.Helper()
	d, err := blockstore.Open(t.Context(), t.TempDir(), blockstore.Options{Reserve: -1})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestResume kills either side in the middle and sends again: of what had come, at
// most one window (32 MiB) comes again.
func TestResume(t *testing.T) {
	const size, most, window = 60 << 20, 48 << 20, 32 << 20
	data := content(9, size)
	for _, who := range []string{"sender", "receiver"} {
		t.Run(who, func(t *testing.T) {
			a, b := newNode(t, nil), newNode(t, func(cfg *Config) { cfg.Store = openDisk(t) })
			introduce(a.host, b.host)
			f := a.add(t, data, dag.ImportOptions{})
			var once sync.Once
			killed := make(chan error, 1)
			b.inbox.moving = func(total int64) {
				if total >= most {
					once.Do(func() {
						go func() {
							if who == "sender" {
								killed <- a.host.Close()
							} else {
								killed <- b.Close()
							}
						}()
					})
				}
			}
			_, err := a.Send(bounded(t), b.Self(), offer("t", f), SendOptions{Turn: func(ctx context.Context) error {
				<-ctx.Done() // else all may be there before the end
				return ctx.Err()
			}})
			if err := <-killed; err != nil {
				t.Fatal(err)
			}
			if err == nil {
				t.Fatal("sent all the same")
			}
			b.inbox.until(t, "drop", func(_ []string, dropped []error) bool { return len(dropped) == 1 })
			again, inbox := newNode(t, nil), newInbox()
			again.add(t, data, dag.ImportOptions{})
			late, err := New(Config{Host: newHost(t), Store: b.store})
			if err != nil {
				t.Fatal(err)
			}
			defer late.Close()
			late.Receive(inbox)
			introduce(again.host, late.cfg.Host)
			r, err := again.Send(bounded(t), late.Self(), offer("t", f), SendOptions{})
			if err != nil || !r.Delivered || r.Moved > size-most+window+(1<<20) {
				t.Errorf("the rest: %+v, %v", r, err)
			}
			b.has(t, f, data)
		})
	}
}
