package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Nginx is an nginx that serves one directory on loopback.
type Nginx struct {
	URL  string // without a slash at the end
	proc *daemon
	logs string
}

// FindNginx returns the name of an nginx binary, which Debian keeps out of the
// PATH of users.
func FindNginx() (string, error) {
	if name, err := exec.LookPath("nginx"); err == nil {
		return name, nil
	}
	return exec.LookPath("/usr/sbin/nginx")
}

// StartNginx serves root; its configuration, log and temporary files lie in dir.
func StartNginx(ctx context.Context, binary, root, dir string) (*Nginx, error) {
	for attempt := 0; ; attempt++ {
		n, err := startNginx(ctx, binary, root, dir)
		// The free port was somebody else's by the time that nginx took it.
		if err == nil || attempt == 9 || !strings.Contains(err.Error(), "Address already in use") {
			return n, err
		}
	}
}

func startNginx(ctx context.Context, binary, root, dir string) (*Nginx, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, err
	}
	user := "" // a worker of root's nginx would be another user, who can't read root's files
	if os.Getuid() == 0 {
		user = "user root;"
	}
	n := &Nginx{URL: "http://" + addr, logs: filepath.Join(dir, "access.log")}
	config := fmt.Sprintf(`daemon off; worker_processes 1; pid %[1]s/nginx.pid; error_log stderr; %[4]s
events {}
http {
  access_log %[1]s/access.log; sendfile on; default_type application/octet-stream;
  client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
  server { listen %[2]s; root %[3]s; }
}
`, dir, addr, root, user)
	name := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(name, []byte(config), 0o600); err != nil {
		return nil, err
	}
	if n.proc, err = startDaemon(ctx, Program{Path: binary, Args: []string{"-p", dir, "-c", name, "-e", "stderr"}}); err != nil {
		return nil, err
	}
	return n, poll(ctx, n.proc, "nginx", func() error {
		req, err := http.NewRequestWithContext(ctx, http.MethodHead, n.URL, http.NoBody)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	})
}

// Served is what nginx has answered to one request.
type Served struct {
	Status int
	Bytes  int64 // of the body
}

// Requests returns what nginx has answered to requests for path, in the order in which
// they ended. Its log comes after the answers.
func (n *Nginx) Requests(path string) (all []Served, err error) {
	text, err := os.ReadFile(n.logs)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(text)) {
		_, rest, ok := strings.Cut(line, "\"GET "+path+" ")
		if !ok {
			continue
		}
		var s Served
		if _, after, ok := strings.Cut(rest, "\" "); ok {
			if _, err := fmt.Sscan(after, &s.Status, &s.Bytes); err != nil {
				return all, fmt.Errorf("nginx log: %w: %q", err, line)
			}
		}
		all = append(all, s)
	}
	return all, nil
}

// Stop ends nginx.
func (n *Nginx) Stop() error { return n.proc.stop() }
