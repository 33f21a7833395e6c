package control

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/hypha-node/hypha-node/connectors/ingest"
)

// Status answers "GET /v1/status": what the node has done since it was opened, and
// does now. Counters only grow while Started stays the same.
type Status struct {
	PeerID  string           `json:"peer_id,omitempty"`
	Version string           `json:"version"`
	Started time.Time        `json:"started"` // UTC
	Time    time.Time        `json:"time"`    // UTC, when this was told
	Online  bool             `json:"online"`
	Network NetworkStatus    `json:"network,omitzero"` // absent when offline
	Store   Usage            `json:"store"`            // at most 30 s old
	Fetch   FetchStatus      `json:"fetch"`
	Scrub   ScrubStatus      `json:"scrub"`
	Jobs    map[string]int64 `json:"jobs"` // how many are in each state
}

// NetworkStatus is the part of Status about peers.
type NetworkStatus struct {
	Peers          int    `json:"peers"`
	Inbound        int    `json:"inbound"`         // of them: who dialled this node
	Routing        int    `json:"routing"`         // peers in the DHT's routing table
	Announced      int    `json:"announced"`       // keys that the DHT is told of
	BlocksReceived uint64 `json:"blocks_received"` // counter
	BytesReceived  uint64 `json:"bytes_received"`  // counter
	Duplicates     uint64 `json:"duplicates"`      // counter: blocks that were here already
	DuplicateBytes uint64 `json:"duplicate_bytes"` // counter: of them; bytes_received has them, too
	BlocksSent     uint64 `json:"blocks_sent"`     // counter
	BytesSent      uint64 `json:"bytes_sent"`      // counter
	SavedSent      int64  `json:"saved_sent"`      // counter: bytes of these that did not go over the wire, packed
	SavedReceived  int64  `json:"saved_received"`  // counter: of bytes_received
	ControlSent    int64  `json:"control_sent"`    // counter: bytes that tell and ask for blocks, over the swarm's protocol
	Wanted         int    `json:"wanted"`          // blocks that are waited for
}

// ScrubStatus is the part of Status about the scrub, which reads what is stored in
// the background to find what went bad.
type ScrubStatus struct {
	Rate    int64     `json:"rate"`          // bytes per second; 0: there is no scrub
	Running bool      `json:"running"`       // a pass is under way
	Last    time.Time `json:"last,omitzero"` // UTC, when the last whole pass ended
	Passes  int64     `json:"passes"`        // counter
	Checked int64     `json:"checked"`       // counter: bytes
	Damaged int64     `json:"damaged"`       // counter: blocks and records
	Mended  int64     `json:"mended"`        // counter: of these
}

// FetchStatus is the part of Status about what is fetched.
type FetchStatus struct {
	Files  map[string]int64 `json:"files"`  // counter, by "origin", "peer", "cache", "store"
	Bytes  map[string]int64 `json:"bytes"`  // counter, likewise; of "store": that were here already
	Failed int64            `json:"failed"` // counter
	Active []ActiveFetch    `json:"active"` // the oldest first
}

// ActiveFetch is one content on its way here.
type ActiveFetch struct {
	Source string    `json:"source"` // URL or CID, without credentials
	Since  time.Time `json:"since"`  // UTC
	Done   int64     `json:"done"`   // bytes
	Total  int64     `json:"total"`  // bytes; -1 while unknown
	From   string    `json:"from"`   // "" while that is being found out
}

// usageAge is how old the numbers of the store may be: they take a look at every
// record of the index.
const usageAge = 30 * time.Second

// usageCache remembers the numbers of the store for a while.
type usageCache struct {
	mu    sync.Mutex
	usage Usage
	at    time.Time
}

// Status returns the numbers of this moment.
func (s *Server) Status(ctx context.Context) (Status, error) {
	st := Status{Version: s.Version, Started: s.started.UTC(), Time: time.Now().UTC(), Jobs: map[string]int64{}}
	if s.Network != nil {
		n, err := s.Network.Stats(ctx)
		if err != nil {
			return Status{}, err
		}
		st.Online, st.PeerID, st.Network = true, s.Network.ID().PeerID, NetworkStatus(n)
	}
	var err error
	if st.Store, err = s.recentUsage(ctx); err != nil {
		return Status{}, err
	}
	list, err := s.Jobs.List(ctx)
	if err != nil {
		return Status{}, err
	}
	for _, j := range list {
		st.Jobs[string(j.State)]++
	}
	st.Fetch = fetchStatus(s.Engine.Stats())
	if s.Scrub != nil {
		st.Scrub = s.Scrub()
	}
	return st, nil
}

// recentUsage returns the numbers of the store, not older than usageAge.
func (s *Server) recentUsage(ctx context.Context) (Usage, error) {
	s.recent.mu.Lock()
	defer s.recent.mu.Unlock()
	if time.Since(s.recent.at) < usageAge {
		return s.recent.usage, nil
	}
	u, err := s.usage(ctx, none{})
	if err == nil {
		s.recent.usage, s.recent.at = u, time.Now()
	}
	return u, err
}

// fetchStatus tells the engine's numbers.
func fetchStatus(e ingest.Stats) FetchStatus {
	f := FetchStatus{Files: map[string]int64{}, Bytes: map[string]int64{}, Failed: e.Failed, Active: []ActiveFetch{}}
	for from, n := range e.Files {
		f.Files[string(from)] = n
	}
	for from, n := range e.Bytes {
		f.Bytes[string(from)] = n
	}
	for _, a := range e.Active {
		f.Active = append(f.Active, ActiveFetch{Source: a.Name, Since: a.Since.UTC(), Done: a.Done, Total: a.Total, From: string(a.From)})
	}
	return f
}

// status answers with Status.
func (s *Server) status(ctx context.Context, _ none) (Status, error) { return s.Status(ctx) }

// Status returns what the node has done and does.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return call[Status](ctx, c, http.MethodGet, "/v1/status", nil)
}
