package peers

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/dag"
)

// crowd is a sender and those who are to get the same file.
func crowd(t *testing.T, n int, change func(*Config)) (a *node, rest []*node, others []string) {
	t.Helper()
	a = newNode(t, change)
	for range n {
		b := newNode(t, change)
		introduce(a.host, b.host)
		rest = append(rest, b)
		others = append(others, b.Self())
	}
	return a, rest, others
}

// sendAll sends a file to all at once and returns what the sender uploaded to
// each, and why it failed.
func sendAll(t testing.TB, a *node, to, others []string, f blockstore.File) (moved []int64, errs []error) {
	t.Helper()
	moved, errs = make([]int64, len(to)), make([]error, len(to))
	ctx := bounded(t)
	var all sync.WaitGroup
	for i, id := range to {
		all.Go(func() {
			o := offer(fmt.Sprintf("t%d", i), f)
			o.Others = others
			r, err := a.Send(ctx, id, o, SendOptions{})
			moved[i], errs[i] = r.Moved, err
		})
	}
	all.Wait()
	return moved, errs
}

func sum(list []int64) (n int64) {
	for _, x := range list {
		n += x
	}
	return n
}

// TestFanOut sends one file to eight receivers, who know of each other only what
// the sender tells them.
func TestFanOut(t *testing.T) {
	a, rest, others := crowd(t, 8, nil)
	data := content(3, 16<<20)
	f := a.add(t, data, dag.ImportOptions{})
	moved, errs := sendAll(t, a, others, others, f)
	for i, b := range rest {
		if errs[i] != nil {
			t.Fatal(errs[i])
		}
		b.has(t, f, data)
	}
	t.Logf("sender uploaded %.2f x the file: %v", float64(sum(moved))/float64(f.Size), moved)
	if sum(moved) > 2*f.Size {
		t.Errorf("sender uploaded %d bytes for a file of %d", sum(moved), f.Size)
	}
}

// TestDeadReceiver has one of eight that can't be reached by anybody.
func TestDeadReceiver(t *testing.T) {
	a, rest, others := crowd(t, 8, nil)
	data := content(3, 16<<20)
	f := a.add(t, data, dag.ImportOptions{})
	if err := errors.Join(rest[3].Close(), rest[3].host.Close()); err != nil {
		t.Fatal(err)
	}
	moved, errs := sendAll(t, a, others, others, f)
	for i, b := range rest {
		if (errs[i] == nil) != (i != 3) {
			t.Errorf("receiver %d: %v", i, errs[i])
		}
		if i != 3 {
			b.has(t, f, data)
		}
	}
	if !errors.Is(errs[3], ErrUnreachable) {
		t.Errorf("error is %v", errs[3])
	}
	t.Logf("sender uploaded %.2f x the file", float64(sum(moved))/float64(f.Size))
	if sum(moved) > 2*f.Size {
		t.Errorf("sender uploaded %d bytes for a file of %d", sum(moved), f.Size)
	}
}

// misbehaving receivers: each takes part in name only.
func misbehaving() map[string]network.StreamHandler {
	read := func(st network.Stream) (*wire, []cid.Cid) {
		w := newWire(st, patience)
		if _, err := w.receive(); err != nil {
			return w, nil
		}
		b, err := w.receive()
		if err != nil {
			return w, nil
		}
		cs, _ := parseWants(b)
		return w, cs
	}
	return map[string]network.StreamHandler{
		"hangs up": func(st network.Stream) { st.Reset() },
		"is silent": func(st network.Stream) {
			w, _ := read(st)
			for {
				if _, err := w.receive(); err != nil {
					return
				}
			}
		},
		"lies": func(st network.Stream) {
			w, cs := read(st)
			for n := range cs {
				w.Write([]byte{0, 0, 0, byte(n), byte(answerBlock), 0, 0, 3, 'l', 'i', 'e'})
			}
		},
		"answers what nobody asked": func(st network.Stream) {
			w, _ := read(st)
			w.Write([]byte{1, 2, 3, 4, byte(answerNo), 0, 0, 0})
		},
		"says no": func(st network.Stream) {
			w, cs := read(st)
			for {
				for n := range cs {
					w.Write([]byte{0, 0, 0, byte(n), byte(answerNo), 0, 0, 0})
				}
				if _, err := w.receive(); err != nil {
					return
				}
				cs = nil
			}
		},
		"promises a giant": func(st network.Stream) {
			w, _ := read(st)
			w.Write([]byte{0, 0, 0, 0, byte(answerBlock), 0xff, 0xff, 0xff})
		},
		"stops in the middle": func(st network.Stream) {
			w, _ := read(st)
			w.Write([]byte{0, 0, 0, 0, byte(answerBlock), 0, 1, 0, 'x'})
			w.receive()
		},
	}
}

func TestBadReceiverHurtsNobody(t *testing.T) {
	for name, handler := range misbehaving() {
		t.Run(name, func(t *testing.T) {
			a, rest, others := crowd(t, 4, func(c *Config) { c.Patience = 100 * time.Millisecond })
			data := content(3, 5<<20)
			f := a.add(t, data, dag.ImportOptions{})
			rest[3].host.SetStreamHandler(protoBlocks, func(st network.Stream) {
				handler(st)
				st.Reset()
			})
			_, errs := sendAll(t, a, others[:3], others, f)
			for i, b := range rest[:3] {
				if errs[i] != nil {
					t.Fatal(errs[i])
				}
				b.has(t, f, data)
			}
		})
	}
}

// TestOneHasIt sends to two of whom one has the file already.
func TestOneHasIt(t *testing.T) {
	a, rest, others := crowd(t, 2, nil)
	data := content(3, 8<<20)
	f := a.add(t, data, dag.ImportOptions{})
	rest[0].add(t, data, dag.ImportOptions{})
	if moved, errs := sendAll(t, a, others[:1], others, f); errs[0] != nil || moved[0] != 0 {
		t.Errorf("moved %v, %v", moved, errs)
	}
	moved, errs := sendAll(t, a, others[1:], others, f)
	if errs[0] != nil || moved[0] < f.Size {
		t.Errorf("moved %v, %v", moved, errs)
	}
	rest[1].has(t, f, data)
}

// TestLateReceiver gets its part from one who is done already.
func TestLateReceiver(t *testing.T) {
	a, rest, others := crowd(t, 2, func(c *Config) { c.Linger, c.Patience = patience, 50*time.Millisecond })
	data := content(3, 32<<20)
	f := a.add(t, data, dag.ImportOptions{})
	if moved, errs := sendAll(t, a, others[:1], others, f); errs[0] != nil || moved[0] < f.Size {
		t.Fatalf("moved %v, %v", moved, errs)
	}
	rest[1].cfg.Patience = patience // it is not in a hurry
	moved, errs := sendAll(t, a, others[1:], others, f)
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	rest[1].has(t, f, data)
	if moved[0] < f.Size/8 || moved[0] > f.Size*7/8 {
		t.Errorf("sender uploaded %d bytes for a file of %d", moved[0], f.Size)
	}
}
