package plan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/hypha-node/hypha-node/api/control"
	"github.com/hypha-node/hypha-node/node"
)

// NodeCommand is the first argument of a process that is the node of an instance: its
// directory and its address follow. It is a process of its own, so that it can be
// killed.
const NodeCommand = "node"

// RunNode is the node of an instance: opened as the daemon opens it, with its files
// below dir. It tells out who it is, as one line of JSON, when it can be used, and
// ends as at SIGTERM when in ends, as it does with whoever has started it.
func RunNode(dir, ip string, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	n, err := node.Open(ctx, node.Config{
		Repo: filepath.Join(dir, "repo"), Holder: "testground", Version: "testground", RuntimeDir: dir, Reserve: -1,
		Listen: []string{place{ip: ip}.listen()}, Crew: true, // as the command has it
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, in) //nolint:errcheck // however it ends
		cancel()
	}()
	told := make(chan error, 1)
	err = n.Run(ctx, func(id control.Identity) { told <- json.NewEncoder(out).Encode(id) })
	select {
	case failed := <-told:
		err = errors.Join(err, failed)
	default:
	}
	return errors.Join(err, n.Close())
}

// child is the process of a node.
type child struct {
	id    control.Identity
	cmd   *exec.Cmd
	input io.Closer
}

// startChild starts the process and waits until the node can be used.
func startChild(ctx context.Context, dir, ip string) (_ *child, err error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.CommandContext(context.WithoutCancel(ctx), program, NodeCommand, dir, ip)}
	c.cmd.Stderr = os.Stderr
	if c.input, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.cmd.Process.Kill() }) //nolint:errcheck // it may have ended
	err = json.NewDecoder(out).Decode(&c.id)
	if stop(); err != nil {
		return nil, errors.Join(fmt.Errorf("the node does not begin: %w", err), c.kill())
	}
	return c, nil
}

// end ends the node as SIGTERM would, and returns when it has ended.
func (c *child) end() error {
	if err := c.input.Close(); err != nil {
		return errors.Join(err, c.kill())
	}
	return c.cmd.Wait()
}

// kill ends the process as kill -9 does.
func (c *child) kill() error {
	if err := c.cmd.Process.Kill(); err != nil {
		return err
	}
	var died *exec.ExitError
	if err := c.cmd.Wait(); err != nil && !errors.As(err, &died) {
		return err
	}
	return nil
}
