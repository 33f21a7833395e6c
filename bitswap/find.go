package bitswap

import (
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	mh "github.com/multiformats/go-multihash"
)

// Limits of finding files by their digest.
const (
	// Connected peers that one search asks.
	maxFound = 32
	// How long one question may take, and how long its asker may take to put it.
	questionTimeout = 10 * time.Second
	// Questions that are answered at once; who comes when there are so many is
	// refused and asks somebody else.
	maxQuestions = 64
	// Peers that are remembered as ones not to be asked.
	maxShunned = 1024
)

// FileKey returns what a file is announced as beside its root: the CID of its
// content as if it were one raw block. Who knows the sha256 of a file, and no
// more, finds its holders under it.
func FileKey(sum [sha256.Size]byte) (cid.Cid, error) {
	hash, err := mh.Encode(sum[:], mh.SHA2_256)
	if err != nil {
		return cid.Undef, err
	}
	return cid.NewCidV1(cid.Raw, hash), nil
}

// Holder is a peer that says it has a file.
type Holder struct {
	Peer string // its id
	Holding
}

// Holders asks who has the file whose content has that sha256: the connected
// peers, and those that the DHT names. It yields the answers as they come, none
// of which is proved, and ends when everybody has answered or ctx ends; what has
// come by then is yielded before. With nobody to ask it ends at once.
func (e *Exchange) Holders(ctx context.Context, sum [sha256.Size]byte) iter.Seq[Holder] {
	return func(yield func(Holder) bool) {
		ctx, cancel := context.WithCancel(ctx)
		found := make(chan Holder, maxFound+maxProviders)
		defer func() {
			cancel()
			for range found { // until the search has ended
			}
		}()
		if e.spawn(func() { e.search(ctx, sum, found) }) != nil {
			close(found)
			return
		}
		for h := range found {
			if !yield(h) {
				return
			}
		}
	}
}

// search sends all answers to found, which has room for them, and closes it.
func (e *Exchange) search(ctx context.Context, sum [sha256.Size]byte, found chan<- Holder) {
	defer close(found)
	ctx, cancel := e.whileOpen(ctx)
	defer cancel()
	var asking sync.WaitGroup
	defer asking.Wait()
	asked := make(map[peer.ID]bool)
	ask := func(p peer.ID) {
		if asked[p] || e.shuns(p) {
			return
		}
		asked[p] = true
		asking.Go(func() {
			h, err := e.question(ctx, p, sum)
			if err != nil {
				e.log.Debug("ask for a file", slog.String("peer", p.String()), slog.Any("error", err))
			} else if h != nil {
				found <- Holder{Peer: p.String(), Holding: *h}
			}
		})
	}
	peers := e.directPeers()
	rand.Shuffle(len(peers), func(i, j int) { peers[i], peers[j] = peers[j], peers[i] })
	for _, p := range peers {
		if len(asked) < maxFound && e.speaksFind(p) {
			ask(p)
		}
	}
	key, err := FileKey(sum)
	if err != nil || !e.routed() {
		return
	}
	providers := e.lookup.FindProvidersAsync(ctx, key, maxProviders)
	for {
		select {
		case p, ok := <-providers:
			if !ok {
				return
			}
			ask(p.ID)
		case <-ctx.Done():
			return
		}
	}
}

// whileOpen returns a context that ends with Close, too. The caller calls cancel.
func (e *Exchange) whileOpen(ctx context.Context) (_ context.Context, cancel context.CancelFunc) {
	ctx, cancel = context.WithCancel(ctx)
	if e.spawn(func() {
		select {
		case <-e.closing:
			cancel()
		case <-ctx.Done():
		}
	}) != nil {
		cancel()
	}
	return ctx, cancel
}

// speaksFind tells whether a connected peer may know the protocol: it says so,
// or it has not said yet what it knows.
func (e *Exchange) speaksFind(p peer.ID) bool {
	known, err := e.host.Peerstore().GetProtocols(p)
	return err == nil && (len(known) == 0 || slices.Contains(known, findProtocol))
}

// question asks one peer; nil when it does not have the file.
func (e *Exchange) question(ctx context.Context, p peer.ID, sum [sha256.Size]byte) (h *Holding, err error) {
	ctx, cancel := context.WithTimeout(ctx, questionTimeout)
	defer cancel()
	st, err := e.host.NewStream(network.WithNoDial(ctx, "connected peers are asked"), p, findProtocol)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { reset(st) })
	defer stop()
	defer reset(st) // it is at its end, or of no use
	if _, err := st.Write(sum[:]); err != nil {
		return nil, err
	}
	if err := st.CloseWrite(); err != nil {
		return nil, err
	}
	return readAnswer(st)
}

// reset ends a stream. That it can't be reset any more is no news.
func reset(st network.Stream) { _ = st.Reset() } //nolint:errcheck // see above

// answerQuestions has peers' questions answered from Config.Holding until Close.
func (e *Exchange) answerQuestions() {
	if e.cfg.Holding == nil {
		return
	}
	slots := make(chan struct{}, maxQuestions)
	e.host.SetStreamHandler(findProtocol, func(st network.Stream) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		default:
			reset(st)
			return
		}
		done := make(chan struct{})
		err := e.spawn(func() {
			defer close(done)
			if err := e.answer(st); err != nil {
				reset(st)
				e.log.Debug("answer a question", slog.String("peer", st.Conn().RemotePeer().String()), slog.Any("error", err))
			}
		})
		if err != nil {
			reset(st)
			return
		}
		<-done
	})
}

// answer answers one question.
func (e *Exchange) answer(st network.Stream) error {
	ctx, cancel := context.WithTimeout(context.Background(), questionTimeout)
	defer cancel()
	ctx, release := e.whileOpen(ctx)
	defer release()
	stop := context.AfterFunc(ctx, func() { reset(st) })
	defer stop() // before release: what was answered must not be reset
	sum, err := readQuestion(st)
	if err != nil {
		return err
	}
	h, err := e.holding(ctx, sum)
	if err != nil {
		return err
	}
	if _, err := st.Write(encodeAnswer(h)); err != nil {
		return err
	}
	return st.Close()
}

// holding returns a file that peers may be told of: one that is announced.
func (e *Exchange) holding(ctx context.Context, sum [sha256.Size]byte) (*Holding, error) {
	key, err := FileKey(sum)
	if err != nil {
		return nil, err
	}
	announced, err := e.announces(ctx, key)
	if err != nil || !announced {
		return nil, err
	}
	h, ok, err := e.cfg.Holding(ctx, sum)
	if err != nil || !ok {
		return nil, err
	}
	return &h, nil
}

// announces tells whether a CID is in the set that is announced. The key store
// is asked for what begins with the bits of the CID's place in the DHT: all but
// the last, because a whole key is no prefix to it.
func (e *Exchange) announces(ctx context.Context, c cid.Cid) (bool, error) {
	var bits strings.Builder
	for _, b := range sha256.Sum256(c.Hash()) {
		fmt.Fprintf(&bits, "%08b", b)
	}
	return contains(ctx, e.prov.keys.ContainsPrefix, bits.String()[:8*sha256.Size-1])
}

// contains spares this package the import that names K.
func contains[K ~string](ctx context.Context, ask func(context.Context, K) (bool, error), prefix string) (bool, error) {
	return ask(ctx, K(prefix))
}

// Shun has Holders neither ask a peer nor hear of it for a while: it has said
// what is not so, or has not sent what it said it has.
func (e *Exchange) Shun(id string, d time.Duration) error {
	p, err := peer.Decode(id)
	if err != nil {
		return fmt.Errorf("peer id %q: %w", id, err)
	}
	e.shunning.Lock()
	defer e.shunning.Unlock()
	now := time.Now()
	maps.DeleteFunc(e.shunned, func(_ peer.ID, until time.Time) bool { return now.After(until) })
	if len(e.shunned) < maxShunned {
		e.shunned[p] = now.Add(d)
	}
	return nil
}

// shuns tells whether a peer is not asked for now.
func (e *Exchange) shuns(p peer.ID) bool {
	e.shunning.Lock()
	defer e.shunning.Unlock()
	return time.Now().Before(e.shunned[p])
}
