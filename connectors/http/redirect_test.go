package httpconn_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/connectors"
	httpconn "github.com/hypha-node/hypha-node/connectors/http"
)

// secrets are what must reach the first origin and no other.
func secrets() http.Header {
	return http.Header{"Authorization": {"Bearer hf_secret"}, "X-Api-Key": {"secret"}, "Cookie": {"secret=1"}}
}

// leaked returns which secrets a request carries.
func leaked(r *http.Request) []string {
	var names []string
	for name := range secrets() {
		if r.Header.Get(name) != "" {
			names = append(names, name)
		}
	}
	if strings.Contains(r.URL.String()+r.Header.Get("Referer"), "secret") {
		names = append(names, "URL")
	}
	return names
}

// TestTokenStealing: chains of redirects that try to get at the credentials.
func TestTokenStealing(t *testing.T) {
	tests := []struct {
		name string
		// first and thief answer request n; the URLs are of the two origins,
		// alias is the first one's under another host name.
		first func(n int, w http.ResponseWriter, r *http.Request, thief, alias string)
		thief func(w http.ResponseWriter, r *http.Request, first string)
		// mine is how many requests to the first origin, from the first on,
		// carry the credentials; those after it must not.
		mine int
	}{
		{
			name: "another port",
			first: func(_ int, w http.ResponseWriter, r *http.Request, thief, _ string) {
				http.Redirect(w, r, thief+"/x", http.StatusFound)
			},
			mine: 1,
		},
		{
			name: "another name of the same host and port",
			first: func(n int, w http.ResponseWriter, r *http.Request, _, alias string) {
				if n == 0 {
					http.Redirect(w, r, alias+"/x", http.StatusMovedPermanently)
				}
			},
			mine: 1,
		},
		{
			name: "there and back",
			first: func(n int, w http.ResponseWriter, r *http.Request, thief, _ string) {
				if n == 0 {
					http.Redirect(w, r, thief+"/x", http.StatusTemporaryRedirect)
				}
			},
			thief: func(w http.ResponseWriter, r *http.Request, first string) {
				http.Redirect(w, r, first+"/public-log", http.StatusTemporaryRedirect)
			},
			mine: 1,
		},
		{
			name: "within, then away",
			first: func(n int, w http.ResponseWriter, r *http.Request, thief, _ string) {
				if n == 0 {
					http.Redirect(w, r, "/other?a=b", http.StatusPermanentRedirect)
					return
				}
				http.Redirect(w, r, strings.Replace(thief, "http:", "", 1)+"/x", http.StatusSeeOther)
			},
			mine: 2,
		},
		{
			name: "with a user that looks like the first origin",
			first: func(_ int, w http.ResponseWriter, _ *http.Request, thief, _ string) {
				w.Header().Set("Location", strings.Replace(thief, "http://", "http://127.0.0.1:80@", 1)+"/x")
				w.WriteHeader(http.StatusFound)
			},
			mine: 1,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var first, thief, alias string
			thief, atThief := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
				if tt.thief != nil {
					tt.thief(w, r, first)
				}
			})
			first, atFirst := serve(t, func(n int, w http.ResponseWriter, r *http.Request) { tt.first(n, w, r, thief, alias) })
			alias = strings.Replace(first, "127.0.0.1", "localhost", 1)
			c := newClient(t, httpconn.Config{})
			if _, _, err := read(t.Context(), c, httpconn.Target{URL: first + "/x", Secret: secrets()}, 0, -1); err != nil {
				t.Fatal(err)
			}
			for _, r := range atThief.list() {
				if names := leaked(r); len(names) > 0 {
					t.Errorf("the other origin got %v", names)
				}
			}
			for n, r := range atFirst.list() {
				if names := leaked(r); (len(names) == len(secrets())) != (n < tt.mine) || n >= tt.mine && len(names) > 0 {
					t.Errorf("request %d to the first origin carries %v", n, names)
				}
			}
			if atFirst.count() < tt.mine {
				t.Errorf("%d requests to the first origin, want at least %d", atFirst.count(), tt.mine)
			}
		})
	}
}

func TestUserOfURL(t *testing.T) {
	thief, atThief := serve(t, func(int, http.ResponseWriter, *http.Request) {})
	first, atFirst := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, thief, http.StatusFound)
	})
	c := newClient(t, httpconn.Config{})
	if _, _, err := read(t.Context(), c, httpconn.Target{URL: strings.Replace(first, "http://", "http://user:secret@", 1)}, 0, -1); err != nil {
		t.Fatal(err)
	}
	if user, password, ok := atFirst.list()[0].BasicAuth(); !ok || user != "user" || password != "secret" {
		t.Errorf("the origin got %q, %q, %t", user, password, ok)
	}
	if _, _, ok := atThief.list()[0].BasicAuth(); ok {
		t.Error("the other origin got the password")
	}
}

func TestRedirects(t *testing.T) {
	for _, tt := range []struct{ hops, want int }{{10, 11}, {11, 11}} {
		base, log := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
			if n < tt.hops {
				http.Redirect(w, r, "/again", http.StatusFound)
				return
			}
			_, _ = w.Write([]byte("here"))
		})
		c := newClient(t, httpconn.Config{Retries: -1})
		got, _, err := read(t.Context(), c, httpconn.Target{URL: base}, 0, -1)
		if ok := tt.hops <= 10; ok != (err == nil && string(got) == "here") {
			t.Errorf("%d redirects: %q, %v", tt.hops, got, err)
		}
		if log.count() != tt.want {
			t.Errorf("%d redirects: %d requests, want %d", tt.hops, log.count(), tt.want)
		}
		if tt.hops > 10 && (err == nil || !strings.Contains(err.Error(), "more than 10 redirects")) {
			t.Errorf("error is %v", err)
		}
	}
}

// TestLoop: a loop of redirects costs eleven requests, and is not tried again.
func TestLoop(t *testing.T) {
	base, log := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Path, http.StatusFound)
	})
	c := newClient(t, httpconn.Config{})
	if _, _, err := read(t.Context(), c, httpconn.Target{URL: base}, 0, -1); !errors.Is(err, connectors.ErrUpstream) {
		t.Errorf("error is %v", err)
	}
	if log.count() != 11 {
		t.Errorf("%d requests, want 11", log.count())
	}
}

// TestRedirectedPost: which redirects keep a request's method and body.
func TestRedirectedPost(t *testing.T) {
	for status, keeps := range map[int]bool{301: false, 302: false, 303: false, 307: true, 308: true} {
		var body bytes.Buffer
		base, log := serve(t, func(n int, w http.ResponseWriter, r *http.Request) {
			if n == 0 {
				w.Header().Set("Location", "/there")
				w.WriteHeader(status)
				return
			}
			_, _ = body.ReadFrom(r.Body)
		})
		c := newClient(t, httpconn.Config{})
		_, _, err := c.Fetch(t.Context(), httpconn.Request{
			Method: http.MethodPost, URL: base, Body: []byte("{}"), Header: http.Header{"Content-Type": {"application/json"}}, Operator: true,
		}, 1000, nil)
		if err != nil {
			t.Fatal(err)
		}
		second := log.list()[1]
		if got := second.Method == http.MethodPost && body.String() == "{}" && second.Header.Get("Content-Type") != ""; got != keeps {
			t.Errorf("%d: method %s, body %q", status, second.Method, body.String())
		}
	}
}

func TestDowngrade(t *testing.T) {
	plain, atPlain := serve(t, func(int, http.ResponseWriter, *http.Request) {})
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, plain, http.StatusFound)
	}))
	t.Cleanup(secure.Close)
	c := newClient(t, httpconn.Config{})
	pool := x509.NewCertPool()
	pool.AddCert(secure.Certificate())
	c.Trust(pool)
	_, _, err := read(t.Context(), c, httpconn.Target{URL: secure.URL}, 0, -1)
	if !errors.Is(err, connectors.ErrForbidden) || !strings.Contains(err.Error(), "https to http") {
		t.Errorf("error is %v, want %v", err, connectors.ErrForbidden)
	}
	if atPlain.count() != 0 {
		t.Error("the redirect from https to http was followed")
	}
}

func TestCertificate(t *testing.T) {
	log := &requests{}
	secure := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { log.add(r) }))
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	c := newClient(t, httpconn.Config{})
	_, _, err := read(t.Context(), c, httpconn.Target{URL: secure.URL}, 0, -1)
	if !errors.Is(err, connectors.ErrUpstream) || strings.Contains(err.Error(), "attempts") || log.count() != 0 {
		t.Errorf("error is %v, want one at the first attempt", err)
	}
}

// get opens a URL on behalf of a job and reads it.
func get(t *testing.T, c *httpconn.Client, u string) error {
	t.Helper()
	body, err := c.Open(t.Context(), httpconn.Target{URL: u, Size: -1}, 0, -1, nil)
	if err != nil {
		return err
	}
	return body.Close()
}

// TestGuard: jobs reach what is allowed, and nothing else, by no spelling and
// by no redirect.
func TestGuard(t *testing.T) {
	inner, atInner := serve(t, func(int, http.ResponseWriter, *http.Request) {})
	_, port, _ := strings.Cut(strings.TrimPrefix(inner, "http://"), ":")
	outer, _ := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusFound)
	})
	exempt := httpconn.Config{Exempt: []string{strings.TrimPrefix(outer, "http://")}}
	for _, host := range []string{
		"127.0.0.1", "localhost", "LOCALHOST", "user@127.0.0.1", "example.org@127.0.0.1", "127.0.0.2", "0.0.0.0",
		"[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::127.0.0.1]",
		"[fd00:ec2::254]", "[2002:7f00:1::]", "169.254.169.254", "100.100.100.200", "10.0.0.1", "192.168.0.1",
	} {
		to := "http://" + host + ":" + port + "/"
		for _, u := range []string{to, outer + "/?to=" + url.QueryEscape(to)} {
			c := newClient(t, exempt)
			err := get(t, c, u)
			if !errors.Is(err, connectors.ErrForbidden) {
				t.Errorf("%s: error is %v, want %v", u, err, connectors.ErrForbidden)
			}
			if ce, ok := errors.AsType[*connectors.Error](err); !ok || ce.Hint == "" {
				t.Errorf("%s: error %v has no hint", u, err)
			}
		}
	}
	if atInner.count() != 0 {
		t.Errorf("%d requests got through", atInner.count())
	}
	if err := get(t, newClient(t, httpconn.Config{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}), inner); err != nil {
		t.Errorf("an allowed network is refused: %v", err)
	}
	if err := get(t, newClient(t, exempt), outer+"/?to="+url.QueryEscape("/?to=")); !errors.Is(err, connectors.ErrUpstream) {
		t.Errorf("the exempt endpoint is refused: %v", err)
	}
}

// TestGuardKeepsConnectionsApart: a connection that the operator has opened
// does not serve a job.
func TestGuardKeepsConnectionsApart(t *testing.T) {
	base, log := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")) })
	c := newClient(t, httpconn.Config{})
	if _, _, err := read(t.Context(), c, httpconn.Target{URL: base}, 0, -1); err != nil {
		t.Fatal(err)
	}
	if err := get(t, c, base); !errors.Is(err, connectors.ErrForbidden) {
		t.Errorf("error is %v, want %v", err, connectors.ErrForbidden)
	}
	if log.count() != 1 {
		t.Errorf("%d requests, want 1", log.count())
	}
}

// TestProxy: requests go through the operator's proxy, which may be at a
// private address; the target's literal host is checked.
func TestProxy(t *testing.T) {
	proxy, log := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(r.URL.String())) })
	address, err := url.Parse(proxy)
	if err != nil {
		t.Fatal(err)
	}
	cfg := httpconn.Config{Proxy: http.ProxyURL(address)}
	c := newClient(t, cfg)
	body, err := c.Open(t.Context(), httpconn.Target{URL: "http://models.example/x", Size: -1}, 0, -1, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if _, err := got.ReadFrom(body); err != nil {
		t.Fatal(err)
	}
	if err := body.Close(); err != nil {
		t.Fatal(err)
	}
	if got.String() != "http://models.example/x" {
		t.Errorf("the proxy was asked for %q", got.String())
	}
	for _, target := range []string{"http://127.0.0.1/", "http://localhost/", "http://[::1]/", "http://169.254.169.254/latest"} {
		if err := get(t, c, target); !errors.Is(err, connectors.ErrForbidden) {
			t.Errorf("%s: error is %v, want %v", target, err, connectors.ErrForbidden)
		}
	}
	if log.count() != 1 {
		t.Errorf("%d requests went through the proxy, want 1", log.count())
	}
	broken := newClient(t, httpconn.Config{Retries: -1, Proxy: func(*http.Request) (*url.URL, error) { return nil, errors.New("no proxy") }})
	if err := get(t, broken, "http://models.example/x"); !errors.Is(err, connectors.ErrUpstream) {
		t.Errorf("error is %v, want %v", err, connectors.ErrUpstream)
	}
}

// TestExpiredURL: when the place that the origin redirects to refuses, the
// origin is asked again, outside the count of attempts.
func TestExpiredURL(t *testing.T) {
	for _, status := range []int{401, 403, 404, 410} {
		cdn, atCDN := serve(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			if n == 0 {
				w.WriteHeader(status)
				return
			}
			_, _ = w.Write([]byte("fresh"))
		})
		base, atOrigin := serve(t, func(_ int, w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, cdn, http.StatusFound) })
		c := newClient(t, httpconn.Config{Retries: -1})
		got, _, err := read(t.Context(), c, httpconn.Target{URL: base}, 0, -1)
		if err != nil || string(got) != "fresh" || atOrigin.count() != 2 || atCDN.count() != 2 {
			t.Errorf("%d: %q, %v after %d and %d requests", status, got, err, atOrigin.count(), atCDN.count())
		}
	}
	// The origin's own refusal is final.
	base, log := serve(t, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	if _, _, err := read(t.Context(), newClient(t, httpconn.Config{}), httpconn.Target{URL: base}, 0, -1); !errors.Is(err, connectors.ErrUnauthorized) || log.count() != 1 {
		t.Errorf("error is %v after %d requests", err, log.count())
	}
}
