package rpc

import (
	"context"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/api/control"
)

// anyArgs marks a command that takes any number of arguments; see command.args.
const anyArgs = -2

// version answers with this program's version.
func version(ctx context.Context, s *Server, c *call) error {
	own, err := s.cfg.Client.ID(ctx)
	if err != nil {
		return err
	}
	return c.send(map[string]string{
		"Version": own.Version, "Commit": "", "Repo": "1", "System": runtime.GOARCH + "/" + runtime.GOOS, "Golang": runtime.Version(),
	})
}

// id answers with who the node is.
func id(ctx context.Context, s *Server, c *call) error {
	own, err := s.cfg.Client.ID(ctx)
	if err != nil {
		return err
	}
	return c.send(map[string]any{
		"ID": own.PeerID, "PublicKey": "", "Addresses": own.Addresses, "AgentVersion": own.AgentVersion, "Protocols": []string{},
	})
}

// pinAdd pins content, getting what is missing of it. When the pins end, which is
// ours, is said as a time or from now on.
func pinAdd(ctx context.Context, s *Server, c *call) error {
	ends, err := pinEnd(c.query.Get("expires"), c.query.Get("expires-in"), time.Now())
	if err != nil {
		return err
	}
	pins := []string{}
	for _, name := range c.query["arg"] {
		p, err := s.cfg.Client.Pin(ctx, control.PinRequest{Path: name, Name: c.query.Get("name"), Expires: ends})
		if err != nil {
			return err
		}
		pins = append(pins, p.CID)
	}
	return c.send(map[string]any{"Pins": pins})
}

// pinEnd returns when a pin ends, zero for never.
func pinEnd(at, in string, now time.Time) (time.Time, error) {
	switch {
	case at != "" && in != "":
		return time.Time{}, refused(http.StatusBadRequest, "expires and expires-in exclude each other")
	case at != "":
		ends, err := time.Parse(time.RFC3339, at)
		if err != nil {
			return time.Time{}, refused(http.StatusBadRequest, "expires: %.100q is no time, as in 2030-12-31T18:00:00Z", at)
		}
		return ends, nil
	case in != "":
		d, err := time.ParseDuration(in)
		if err != nil || d <= 0 {
			return time.Time{}, refused(http.StatusBadRequest, "expires-in: %.100q is no time from now, as in 72h", in)
		}
		return now.Add(d), nil
	}
	return time.Time{}, nil
}

// pinRemove removes pins: those of a name, or else all of the content. They all
// have to be there before the first one goes.
func pinRemove(ctx context.Context, s *Server, c *call) error {
	var roots []cid.Cid
	for _, arg := range c.query["arg"] {
		root, err := resolve(ctx, s, arg)
		if err != nil {
			return err
		}
		roots = append(roots, root)
	}
	all, err := pinsOf(ctx, s, roots, c.query.Get("name"))
	if err != nil {
		return err
	}
	for _, root := range roots {
		if len(all[root]) == 0 {
			return refused(http.StatusInternalServerError, "%s is not pinned", root)
		}
	}
	pins := []string{}
	for _, root := range roots {
		for _, p := range all[root] {
			err := s.cfg.Store.Unpin(ctx, root, p.Name)
			if err != nil && !ipld.IsNotFound(err) {
				return err
			}
		}
		pins = append(pins, root.String())
	}
	return c.send(map[string]any{"Pins": pins})
}

// pinsOf returns the pins on roots that have a name, "" for any. Those of jobs and
// of what they published are the node's own affair.
func pinsOf(ctx context.Context, s *Server, roots []cid.Cid, name string) (map[cid.Cid][]control.Pin, error) {
	all := map[cid.Cid][]control.Pin{}
	for ev, err := range s.cfg.Client.Pins(ctx) {
		if err != nil {
			return nil, err
		}
		for _, root := range roots {
			if ev.Item.CID == root.String() && (name == "" || ev.Item.Name == name) && !strings.HasPrefix(ev.Item.Name, "job:") {
				all[root] = append(all[root], *ev.Item)
			}
		}
	}
	return all, nil
}

// pinLine is one pin of an answer.
type pinLine struct {
	Type string
	Cid  string `json:",omitempty"`
	Name string `json:",omitempty"`
	// Expires is when the pin ends, or the last of several; absent: never. It is ours.
	Expires time.Time `json:",omitzero"`
}

// until returns the line for one more pin of the same content that ends then.
func (l pinLine) until(ends time.Time) pinLine {
	if ends.IsZero() || !l.Expires.IsZero() && ends.After(l.Expires) {
		l.Expires = ends
	}
	return l
}

// pinList answers with pins, of all content or of what is asked for.
func pinList(ctx context.Context, s *Server, c *call) error {
	stream, err := c.flag("stream", false)
	if err != nil {
		return err
	}
	names, err := c.flag("names", false)
	if err != nil {
		return err
	}
	wanted := map[string]bool{}
	for _, arg := range c.query["arg"] {
		root, err := resolve(ctx, s, arg)
		if err != nil {
			return err
		}
		wanted[root.String()] = true
	}
	keys := map[string]pinLine{}
	for ev, err := range s.cfg.Client.Pins(ctx) {
		if err != nil {
			return err
		}
		p := *ev.Item
		if len(wanted) > 0 && !wanted[p.CID] || !strings.Contains(p.Name, c.query.Get("name")) {
			continue
		}
		line := pinLine{Type: "recursive"}
		if names || !stream { // else the first line of several is the only one
			line.Expires = p.Expires
		}
		if names {
			line.Name = p.Name
		} else if told, ok := keys[p.CID]; ok {
			keys[p.CID] = told.until(line.Expires)
			continue
		}
		keys[p.CID] = line
		if line.Cid = p.CID; stream {
			if err := c.send(line); err != nil {
				return err
			}
		}
	}
	for name := range wanted {
		if _, ok := keys[name]; !ok {
			return refused(http.StatusInternalServerError, "path '%s' is not pinned", name)
		}
	}
	if stream {
		c.begin("application/json")
		return nil
	}
	return c.send(map[string]any{"Keys": keys})
}

// swarmPeers answers with the connected peers.
func swarmPeers(ctx context.Context, s *Server, c *call) error {
	peers, err := s.cfg.Client.Peers(ctx)
	if err != nil {
		return err
	}
	lines := []map[string]any{}
	for _, p := range peers {
		direction := 1 // in
		if p.Direction == "out" {
			direction = 2
		}
		lines = append(lines, map[string]any{"Addr": strings.TrimSuffix(p.Address, "/p2p/"+p.PeerID), "Peer": p.PeerID, "Latency": "", "Muxer": "", "Direction": direction, "Streams": nil})
	}
	return c.send(map[string]any{"Peers": lines})
}

// swarmConnect dials peers.
func swarmConnect(ctx context.Context, s *Server, c *call) error {
	done := []string{}
	for _, addr := range c.query["arg"] {
		r, err := s.cfg.Client.Connect(ctx, control.ConnectRequest{Address: addr})
		if err != nil {
			return err
		}
		done = append(done, "connect "+r.PeerID+" success")
	}
	return c.send(map[string]any{"Strings": done})
}
