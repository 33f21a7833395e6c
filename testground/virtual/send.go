package virtual

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/connectors/peers"
	"github.com/hypha-node/hypha-node/testground/cases"
)

var _ cases.Sender = (*node)(nil)

// prepared is the name of the file that a job sends.
const prepared = "prepared"

// taker hands what comes to the node's only job.
type taker struct{ job *bridge.Job }

// Offered implements peers.Receiver.
func (k taker) Offered(ctx context.Context, from string, o peers.Offer, proven func(string) bool) (peers.Delivery, error) {
	return k.job.Accept(ctx, from, o, proven)
}

// openTransfers opens what moves files between jobs.
func (n *running) openTransfers() (err error) {
	n.transfers, err = peers.New(peers.Config{Host: n.ex.Host(), Store: n.store, Memory: n.engine.Memory(), FindPeer: n.ex.FindPeer})
	if err != nil {
		return err
	}
	n.onClose(n.transfers.Close)
	return nil
}

// Prepare implements cases.Sender.
func (n *node) Prepare(_ context.Context, size int64) error {
	f, err := os.OpenFile(filepath.Join(n.workDir, prepared), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, cases.Noise(size))
	return errors.Join(err, f.Close())
}

// Send implements cases.Sender.
func (n *node) Send(ctx context.Context, addresses []string) error {
	var ids []string
	for _, address := range addresses {
		ids = append(ids, address[strings.LastIndex(address, "/")+1:])
	}
	var got []bridge.Delivered
	err := n.post(ctx, "/resources/send", map[string]any{
		"send": map[string]any{"type": "peers", "peers": ids, "strategy": "all"}, "path": prepared,
	}, &got)
	if err == nil && len(got) != len(ids) {
		err = fmt.Errorf("%d deliveries to %d peers", len(got), len(ids))
	}
	return err
}

// Receive implements cases.Sender.
func (n *node) Receive(ctx context.Context, size int64) (int64, error) {
	var got bridge.Received
	err := n.post(ctx, "/resources/receive", map[string]any{
		"receive": map[string]any{"type": "peers", "peers": []string{}, "strategy": "one"}, "out_dir": "incoming", "stream": false,
	}, &got)
	if err != nil {
		return 0, err
	}
	return n.check(got.Path, size)
}

// check reads back a file of the work directory.
func (n *node) check(name string, size int64) (int64, error) {
	f, err := os.Open(filepath.Join(n.workDir, name))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return cases.Check(f, size)
}

// post asks the job's bridge and reads its answer, which must be a yes.
func (n *node) post(ctx context.Context, route string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://bridge"+route, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := n.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("bridge answers %d: %s", resp.StatusCode, answer)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("bridge's answer %.200q: %w", answer, err)
	}
	return nil
}
