package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// jobRow is a row whose subject is a team of n nodes that lives for one round.
func (b *bench) jobRow(name, title string, n int, run func(ctx context.Context, t *team) error) row {
	return row{name: name, title: title, subject: contender{"jobs", func(ctx context.Context, dir string) (func(context.Context) (sample, error), func() error, error) {
		t, err := b.newTeam(ctx, dir, n)
		if err != nil {
			return nil, t.stop, err
		}
		return func(ctx context.Context) (sample, error) {
			return working(func() error { return run(ctx, t) }, t.pids()...)
		}, t.stop, nil
	}}}
}

// exchangeRow returns one of the rows about jobs that exchange files.
func (b *bench) exchangeRow(name string) (row, error) {
	switch name {
	case "socket":
		return b.socketRow(), nil
	case "message":
		return b.messageRow(), nil
	case "burst":
		return b.burstRow(), nil
	case "broadcast":
		return b.broadcastRow(), nil
	case "flat":
		return b.flatRow(), nil
	}
	return row{}, fmt.Errorf("there is no row %q", name)
}

// socketRow: a trivial request on the socket, and connections under load.
func (b *bench) socketRow() row {
	const requests, callers, each = 2000, 200, 20
	var trivial, accepted []float64 // milliseconds
	r := b.jobRow("socket", "trivial requests on a job's socket, and 200 callers at once", 1, func(ctx context.Context, t *team) error {
		for range requests {
			begin := time.Now()
			if err := t.call(ctx, 0, http.MethodGet, "/job", nil, &struct{}{}); err != nil {
				return err
			}
			trivial = append(trivial, ms(time.Since(begin)))
		}
		took := make(chan float64, callers*each)
		var group errgroup.Group
		for range callers {
			group.Go(func() error {
				for range each {
					begin := time.Now()
					conn, err := new(net.Dialer).DialContext(ctx, "unix", t.jobs[0].Socket)
					if err != nil {
						return err
					}
					took <- ms(time.Since(begin))
					_, err = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: bridge\r\nConnection: close\r\n\r\n")
					if err == nil {
						_, err = io.Copy(io.Discard, conn)
					}
					if err = errors.Join(err, conn.Close()); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		close(took)
		for v := range took {
			accepted = append(accepted, v)
		}
		return nil
	})
	r.after = func(context.Context) ([]check, error) {
		return []check{
			{What: "trivial request, p50", Got: median(trivial), Goal: 1, Unit: "ms"},
			{What: "accept under 200 callers, p99", Got: quantile(accepted, 0.99), Goal: 100, Unit: "ms"},
		}, nil
	}
	return r
}

// messageRow: a small file from job to job, one at a time.
func (b *bench) messageRow() row {
	const messages, size = 300, 1 << 10
	var took []float64 // milliseconds
	r := b.jobRow("message", "1 KiB from one job to another, send to receive", 2, func(ctx context.Context, t *team) error {
		in, err := t.subscribe(ctx, 1)
		if err != nil {
			return err
		}
		defer in.body.Close()
		content := make([]byte, size)
		for i := range messages {
			copy(content, strconv.Itoa(i))
			if err := t.write("f", content); err != nil {
				return err
			}
			begin := time.Now()
			sent := make(chan error, 1)
			go func() { sent <- t.send(ctx, "f", t.ids[1]) }()
			item, err := in.next()
			took = append(took, ms(time.Since(begin)))
			if err = errors.Join(err, <-sent); err != nil {
				return err
			}
			if item.Sequence != int64(i) || item.Size != size {
				return fmt.Errorf("message %d came as %+v", i, item)
			}
		}
		return nil
	})
	r.after = func(context.Context) ([]check, error) {
		return []check{{What: "send to receive, p50", Got: median(took), Goal: 15, Unit: "ms"}}, nil
	}
	return r
}

// burstRow: many small files from job to job.
func (b *bench) burstRow() row {
	const messages, senders = 10_000, 32
	var rates []float64
	var lost, doubled float64
	r := b.jobRow("burst", "10,000 messages of 1 KiB from one job to another", 2, func(ctx context.Context, t *team) error {
		in, err := t.subscribe(ctx, 1)
		if err != nil {
			return err
		}
		defer in.body.Close()
		begin := time.Now()
		group, ctx := errgroup.WithContext(ctx)
		for s := range senders {
			group.Go(func() error {
				for i := s; i < messages; i += senders {
					name := fmt.Sprintf("f-%d", s)
					if err := t.write(name, fmt.Appendf(make([]byte, 1<<10), "%d", i)); err != nil {
						return err
					}
					if err := t.send(ctx, name, t.ids[1]); err != nil {
						return err
					}
				}
				return nil
			})
		}
		seen, contents := map[int64]bool{}, map[string]bool{}
		for range messages {
			item, err := in.next()
			if err != nil {
				return errors.Join(err, group.Wait())
			}
			if seen[item.Sequence] || contents[item.Checksum] {
				doubled++
			}
			seen[item.Sequence], contents[item.Checksum] = true, true
		}
		rates = append(rates, messages/time.Since(begin).Seconds())
		lost += float64(messages - len(contents))
		return group.Wait()
	})
	r.after = func(context.Context) ([]check, error) {
		return []check{
			{What: "messages", Got: median(rates), Goal: 500, Least: true, Unit: "per second"},
			{What: "lost", Got: lost, Unit: "messages"},
			{What: "doubled", Got: doubled, Unit: "messages"},
		}, nil
	}
	return r
}

// broadcastRow: the big file to eight receivers.
func (b *bench) broadcastRow() row {
	const receivers = 8
	var ratios []float64
	r := b.jobRow("broadcast", "the big file from one job to eight", 1+receivers, func(ctx context.Context, t *team) error {
		if _, err := rig.WriteRandom(filepath.Join(t.jobs[0].WorkDir, "f"), uint64(time.Now().UnixNano()), b.size); err != nil {
			return err
		}
		if err := t.send(ctx, "f", t.ids[1:]...); err != nil {
			return err
		}
		var stats struct {
			Uploaded int64 `json:"uploaded_bytes"`
			Sent     int64 `json:"sent_bytes"`
		}
		if err := t.call(ctx, 0, http.MethodGet, "/stats", nil, &stats); err != nil {
			return err
		}
		if stats.Sent != receivers*b.size {
			return fmt.Errorf("%+v, want %d bytes sent", stats, receivers*b.size)
		}
		ratios = append(ratios, float64(stats.Uploaded)/float64(b.size))
		return nil
	})
	r.after = func(context.Context) ([]check, error) {
		return []check{{What: "uploaded by the sender", Got: median(ratios), Goal: 2, Unit: "× the file"}}, nil
	}
	return r
}

// flatRow: memory while a lot is moved, a file of the big file's size at a time
// (at most 256 MiB).
func (b *bench) flatRow() row {
	size := min(b.size, 256<<20)
	r := b.jobRow("flat", fmt.Sprintf("%d MiB from job to job, file by file", b.moved>>20), 2, func(ctx context.Context, t *team) error {
		in, err := t.subscribe(ctx, 1)
		if err != nil {
			return err
		}
		defer in.body.Close()
		for done := int64(0); done < b.moved; done += size {
			name := filepath.Join(t.jobs[0].WorkDir, "f")
			if err := os.RemoveAll(name); err != nil {
				return err
			}
			sum, err := rig.WriteRandom(name, uint64(done)+1, size)
			if err != nil {
				return err
			}
			if err := t.send(ctx, "f", t.ids[1]); err != nil {
				return err
			}
			item, err := in.next()
			if err != nil {
				return err
			}
			if item.Checksum != "sha256:"+sum {
				return fmt.Errorf("came as %+v, want %s", item, sum)
			}
			if err := os.Remove(filepath.Join(t.jobs[1].WorkDir, item.Path)); err != nil {
				return err
			}
		}
		return nil
	})
	r.anon = transferMemory
	return r
}

// ms returns milliseconds.
func ms(d time.Duration) float64 { return d.Seconds() * 1000 }
