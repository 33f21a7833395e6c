package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hypha-node/hypha-node/testground/rig"
)

// team is a job of one scope on each of several nodes that know each other.
type team struct {
	nodes []*rig.Node
	ids   []string // peer ids
	jobs  []rig.Job
	http  []*http.Client
}

// newTeam starts n nodes below dir, connects each with all others and creates
// the jobs. What has been started is stopped by stop, also after an error.
func (b *bench) newTeam(ctx context.Context, dir string, n int) (t *team, err error) {
	t = &team{}
	id := "bench-" + strings.ToLower(rand.Text())
	for i := range n {
		node, err := b.node(ctx, filepath.Join(dir, "node-"+strconv.Itoa(i)))
		if err != nil {
			return t, err
		}
		t.nodes = append(t.nodes, node)
		address, err := node.Address(ctx)
		if err != nil {
			return t, err
		}
		t.ids = append(t.ids, address[strings.LastIndexByte(address, '/')+1:])
		for _, other := range t.nodes[:i] {
			if _, err := other.Run(ctx, "connect", address); err != nil {
				return t, err
			}
		}
		r, err := node.Run(ctx, "job", "create", "--json", "--id", id)
		if err != nil {
			return t, err
		}
		var job rig.Job
		if err := json.Unmarshal([]byte(r.Stdout), &job); err != nil {
			return t, err
		}
		t.jobs = append(t.jobs, job)
		t.http = append(t.http, &http.Client{Transport: &http.Transport{
			MaxIdleConnsPerHost: 256, DisableCompression: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", job.Socket)
			},
		}})
	}
	return t, nil
}

// stop ends the nodes.
func (t *team) stop() error {
	var errs []error
	for _, c := range t.http {
		c.CloseIdleConnections()
	}
	for _, n := range t.nodes {
		errs = append(errs, n.Stop())
	}
	return errors.Join(errs...)
}

// pids are the nodes' process ids.
func (t *team) pids() (pids []int) {
	for _, n := range t.nodes {
		pids = append(pids, n.PID())
	}
	return pids
}

// call makes a request of the job i and decodes what must be a 200.
func (t *team) call(ctx context.Context, i int, method, route string, body, answer any) error {
	var in io.Reader = http.NoBody
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		in = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://bridge"+route, in)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := t.http[i].Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d: %s", route, resp.StatusCode, text)
	}
	return json.Unmarshal(text, answer)
}

// peersRef is a reference to peers.
func peersRef(ids ...string) map[string]any {
	return map[string]any{"type": "peers", "peers": append([]string{}, ids...), "strategy": "All"}
}

// send sends a file of job 0 to peers.
func (t *team) send(ctx context.Context, path string, to ...string) error {
	var delivered []struct{ Status string }
	err := t.call(ctx, 0, http.MethodPost, "/resources/send", map[string]any{"send": peersRef(to...), "path": path}, &delivered)
	if err == nil && len(delivered) != len(to) {
		err = fmt.Errorf("%d of %d peers", len(delivered), len(to))
	}
	return err
}

// write writes a file of job 0.
func (t *team) write(path string, content []byte) error {
	return os.WriteFile(filepath.Join(t.jobs[0].WorkDir, path), content, 0o600)
}

// received is one file that came.
type received struct {
	Path     string `json:"path"`
	Size     int64  `json:"size"`
	Sequence int64  `json:"sequence"`
	Checksum string `json:"checksum"`
}

// inbox is a subscription of one job.
type inbox struct {
	body  io.ReadCloser
	lines *bufio.Scanner
}

// subscribe opens a subscription of the job i; the caller closes its body.
func (t *team) subscribe(ctx context.Context, i int) (*inbox, error) {
	body, err := json.Marshal(map[string]any{"receive": peersRef()})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://bridge/resources/receive", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := t.http[i].Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("receive answers %s", resp.Status), resp.Body.Close())
	}
	return &inbox{resp.Body, bufio.NewScanner(resp.Body)}, nil
}

// next waits for the next file.
func (in *inbox) next() (item received, err error) {
	for in.lines.Scan() {
		if data, is := strings.CutPrefix(in.lines.Text(), "data:"); is {
			return item, json.Unmarshal([]byte(data), &item)
		}
	}
	return item, errors.Join(io.ErrUnexpectedEOF, in.lines.Err())
}
