package virtual

import (
	"context"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"google.golang.org/protobuf/proto"
)

// ear hears what the DHTs of all nodes say to each other.
type ear struct {
	mu   sync.Mutex
	kept map[string]map[peer.ID]time.Time // by key: who was told to keep a record, and when
	told map[string]map[peer.ID]time.Time // by key: who was told of a provider, and when
}

func newEar() *ear {
	return &ear{kept: make(map[string]map[peer.ID]time.Time), told: make(map[string]map[peer.ID]time.Time)}
}

// hear takes in a message that came to a node.
func (e *ear) hear(at peer.ID, text []byte) {
	var m pb.Message
	if proto.Unmarshal(text, &m) != nil || len(m.GetProviderPeers()) == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.told
	if m.GetType() == pb.Message_ADD_PROVIDER {
		all = e.kept
	}
	key := string(m.GetKey())
	if all[key] == nil {
		all[key] = make(map[peer.ID]time.Time)
	}
	if _, again := all[key][at]; !again {
		all[key][at] = time.Now()
	}
}

// keepers returns who was told to keep a record, and when.
func (e *ear) keepers(key []byte) map[peer.ID]time.Time { return e.look(e.kept, key) }

// finders returns who was told of a provider, and when first.
func (e *ear) finders(key []byte) map[peer.ID]time.Time { return e.look(e.told, key) }

func (e *ear) look(all map[string]map[peer.ID]time.Time, key []byte) map[peer.ID]time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return maps.Clone(all[string(key)])
}

// tapped is a host at whose DHT somebody listens.
type tapped struct {
	host.Host
	ear *ear
}

// kad tells whether a protocol is that of a DHT.
func kad(id protocol.ID) bool { return strings.HasSuffix(string(id), "/kad/1.0.0") }

// SetStreamHandler implements host.Host.
func (t tapped) SetStreamHandler(id protocol.ID, handler network.StreamHandler) {
	if kad(id) {
		inner := handler
		handler = func(st network.Stream) { inner(&tap{Stream: st, at: t.ID(), ear: t.ear}) }
	}
	t.Host.SetStreamHandler(id, handler)
}

// NewStream implements host.Host.
func (t tapped) NewStream(ctx context.Context, p peer.ID, ids ...protocol.ID) (network.Stream, error) {
	st, err := t.Host.NewStream(ctx, p, ids...)
	if err != nil || !slices.ContainsFunc(ids, kad) {
		return st, err
	}
	return &tap{Stream: st, at: t.ID(), ear: t.ear}, nil
}

// tap is a stream of a DHT.
type tap struct {
	network.Stream
	at  peer.ID
	ear *ear
	got []byte // of a message that has not come to its end
}

// Read implements network.Stream: it takes apart what it reads into messages, each of
// which stands behind its length.
func (t *tap) Read(p []byte) (int, error) {
	n, err := t.Stream.Read(p)
	t.got = append(t.got, p[:n]...)
	for {
		size, head := binary.Uvarint(t.got)
		if head <= 0 || uint64(len(t.got)-head) < size {
			return n, err
		}
		t.ear.hear(t.at, t.got[head:head+int(size)])
		t.got = t.got[head+int(size):]
	}
}
