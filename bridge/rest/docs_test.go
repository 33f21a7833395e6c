package rest

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/internal/hubtest"
)

// The commands of docs/api.md work as they stand, but for the peer's id.
func TestDocsCommands(t *testing.T) {
	for _, tool := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skipf("no %s here: %v", tool, err)
		}
	}
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	a, b, _ := pair(t, hubtest.Repo{ID: "openai-community/gpt2", Files: map[string]hubtest.Content{
		"config.json": hubtest.Bytes([]byte("{}")), "model.safetensors": hubtest.Random(1, 3<<20),
	}})
	write := func(s *jobServer, name string) {
		full := filepath.Join(s.dir, name)
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(`{"loss":0.5}`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(a, "output/results.json")
	write(b, "results.json")
	if _, err := b.job.Send(t.Context(), bridge.SendRequest{Peers: []string{a.job.Info().PeerID}, Path: "results.json"}); err != nil {
		t.Fatal(err)
	}
	// What each block shows when it works, in the order of the page.
	want := []string{
		`"use":{`, `"path":"artifacts/model.safetensors","size":3145728,`, `"status":"delivered"`,
		`data: {"path":"incoming/0-results.json","size":12,"from_peer":"peer-b","sequence":0,`, `{"cid":"baf`, "event: result\ndata: [{",
	}
	setUp, blocks := shellBlocks(string(page))
	if len(blocks) != len(want) {
		t.Fatalf("%d blocks of commands, %d expectations", len(blocks), len(want))
	}
	for i, block := range blocks {
		script := "SOCKET_PATH=" + a.socket + "\n" + setUp + strings.ReplaceAll(block, "12D3KooW…", b.job.Info().PeerID)
		if out := shell(t, script, want[i]); !strings.Contains(out, want[i]) {
			t.Errorf("%s\nanswers %s\nwithout %s", block, out, want[i])
		}
	}
	if a := b.post("/resources/receive", `{"receive":`+anyPeer+`,"timeout_ms":0}`); a.status != http.StatusOK {
		t.Errorf("what was sent did not arrive: %d %s", a.status, a.body)
	}
}

// shellBlocks returns the definition of the function bridge and the blocks that
// use it; lines that make a job are left out.
func shellBlocks(page string) (setUp string, blocks []string) {
	for part := range strings.SplitSeq(page, "```sh\n") {
		block, _, ok := strings.Cut(part, "```")
		if !ok || !strings.Contains(block, "bridge ") {
			continue
		}
		lines := slices.DeleteFunc(strings.SplitAfter(block, "\n"), func(line string) bool {
			if strings.HasPrefix(line, "bridge() {") {
				setUp = line
			}
			return strings.HasPrefix(line, "bridge() {") || strings.HasPrefix(line, "eval ")
		})
		blocks = append(blocks, strings.Join(lines, ""))
	}
	return setUp, blocks
}

// shell runs a script until its output has a text, or it ends.
func shell(t *testing.T, script, until string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	buf := make([]byte, 4096)
	for err == nil && !strings.Contains(text.String(), until) {
		var n int
		n, err = out.Read(buf)
		text.Write(buf[:n])
	}
	cancel()
	if err := cmd.Wait(); err != nil && errs.Len() > 0 {
		t.Logf("%v: %s", err, errs.String())
	}
	return text.String()
}
