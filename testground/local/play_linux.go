package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hypha-node/hypha-node/testground/bound"
	"github.com/hypha-node/hypha-node/testground/cases"
	"github.com/hypha-node/hypha-node/testground/link"
)

// able tells why shaped links can't be had.
func able() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces and TUN devices need root: sudo make testground, or make sim, which needs nothing")
	}
	if _, err := os.Stat("/dev/net/tun"); err != nil {
		return fmt.Errorf("no TUN devices: %w", err)
	}
	return nil
}

// Networks of a run, as testground has them: instances exchange data on one,
// and meet on the other, whose links are not shaped.
const (
	dataNet    = "16.0.0.0/16"
	controlNet = "192.18.0.0/16"
)

// addressOf returns an instance's address in a network; the first is for the
// sync service.
func addressOf(network string, index int) netip.Addr {
	a := netip.MustParsePrefix(network).Addr().As4()
	index += 2
	a[2], a[3] = byte(index/250), byte(index%250+1)
	return netip.AddrFrom4(a)
}

// playCase plays one case; one with faults first without them.
func playCase(ctx context.Context, o options, c cases.Case) (row cases.Row, err error) {
	if len(c.Bad) > 0 {
		clean, err := playCase(ctx, o, c.Clean())
		if err != nil {
			return row, fmt.Errorf("without faults: %w", err)
		}
		c.Bound = clean.Measured
	}
	dir, err := os.MkdirTemp("", "hypha-local-")
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r := &round{dir: dir, plan: o.plan, c: c, data: link.New(), control: link.New()}
	return r.play(ctx)
}

// round is one case that is played.
type round struct {
	dir, plan     string
	c             cases.Case
	data, control *link.Switch
	syncPort      int
}

// play starts everything, waits for the instances and reads their result.
func (r *round) play(ctx context.Context) (row cases.Row, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Minute)
	defer cancel()
	service, err := r.startSync(ctx)
	if err != nil {
		return row, fmt.Errorf("sync service: %w", err)
	}
	defer func() { err = errors.Join(err, service()) }()
	spaces := make([]*space, r.c.Machines())
	for i := range spaces {
		if spaces[i], err = r.newSpace(i); err != nil {
			return row, fmt.Errorf("namespace %d: %w", i, err)
		}
		defer spaces[i].close()
	}
	done, moved := make(chan struct{}), make(chan error, 2)
	go func() { moved <- r.data.Run(done) }()
	go func() { moved <- r.control.Run(done) }()
	g, gctx := errgroup.WithContext(ctx)
	for i, s := range spaces {
		g.Go(func() error { return r.instance(gctx, s, i) })
	}
	err = g.Wait()
	close(done)
	if err := errors.Join(err, <-moved, <-moved); err != nil {
		return row, err
	}
	text, err := os.ReadFile(filepath.Join(r.dir, "0", "row.json"))
	if err != nil {
		return row, err
	}
	return row, json.Unmarshal(text, &row)
}

// newSpace makes the namespace of an instance with its two devices.
func (r *round) newSpace(index int) (*space, error) {
	s, err := newSpace()
	if err != nil {
		return nil, err
	}
	mtu := 1500
	if max(r.c.Link.Up, r.c.Link.Down) >= 500 {
		mtu = 9000 // as in networks that are that fast; each packet costs the same
	}
	l := r.c.LinkOf(index)
	shape := link.Shape{Up: l.Up * bound.Mbit, Down: l.Down * bound.Mbit, Delay: l.RTT / 2, Loss: l.Loss}
	own := addressOf(dataNet, index)
	device, err := s.device("data0", own, mtu)
	if err == nil {
		err = r.data.Add(own, device, shape)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	own = addressOf(controlNet, index)
	if device, err = s.device("ctl0", own, 9000); err == nil {
		err = r.control.Add(own, device, link.Shape{})
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// environment is what testground gives an instance, all of it.
func (r *round) environment(index int, out, temp string) []string {
	n := strconv.Itoa(r.c.Machines())
	return []string{
		"PATH=" + os.Getenv("PATH"), "TEST_PLAN=hypha", "TEST_CASE=" + r.c.Name, "TEST_RUN=local", "TEST_INSTANCE_COUNT=" + n,
		"TEST_GROUP_ID=all", "TEST_GROUP_INSTANCE_COUNT=" + n, "TEST_INSTANCE_PARAMS=" + r.params(index), "TEST_INSTANCE_ROLE=",
		"TEST_OUTPUTS_PATH=" + out, "TEST_TEMP_PATH=" + temp, "TEST_SIDECAR=false", "TEST_SUBNET=" + dataNet,
		"TEST_START_TIME=" + time.Now().Format(time.RFC3339), "TEST_CAPTURE_PROFILES=", "TEST_DISABLE_METRICS=true",
		"TEST_REPO=", "TEST_BRANCH=", "TEST_TAG=", "HOSTNAME=i" + strconv.Itoa(index),
		"SYNC_SERVICE_HOST=" + addressOf(controlNet, -1).String(), "SYNC_SERVICE_PORT=" + strconv.Itoa(r.syncPort),
	}
}

// params are the parameters of an instance.
func (r *round) params(index int) string {
	text := "index=" + strconv.Itoa(index) // its link is shaped already
	if len(r.c.Bad) > 0 {
		text += "|bound_s=" + strconv.FormatFloat(r.c.Bound, 'f', 3, 64)
	}
	return text
}

// instance runs one instance to its end. It is an error when it did not say that
// all went well; that a bound was missed stands in its row.
func (r *round) instance(ctx context.Context, s *space, index int) error {
	out, temp := filepath.Join(r.dir, strconv.Itoa(index)), filepath.Join(r.dir, "t"+strconv.Itoa(index))
	for _, dir := range []string{out, temp} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, r.plan)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = r.environment(index, out, temp), temp, &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := s.do(cmd.Start); err != nil {
		return err
	}
	if err := errors.Join(cmd.Wait(), r.well(out, index)); err != nil {
		return fmt.Errorf("instance %d: %w: %s", index, err, tail(said.String()))
	}
	return nil
}

// well tells why an instance with its results in a directory has not done its part: a
// node writes a row, whether it passes or not, and the origin says that it has ended.
func (r *round) well(out string, index int) error {
	if index < r.c.Instances() {
		_, err := os.Stat(filepath.Join(out, "row.json"))
		return err
	}
	said, err := os.ReadFile(filepath.Join(out, "run.out"))
	if err == nil && !bytes.Contains(said, []byte(`"success_event"`)) {
		err = errors.New("the origin has failed")
	}
	return err
}

// tail is the end of what a program said.
func tail(text string) string {
	const most = 2000
	text = strings.TrimSpace(text)
	return text[max(0, len(text)-most):]
}
