package swarm

import (
	"slices"
	"sync"
	"time"

	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"
)

const (
	maxGiven  = 256 << 10              // blocks of which it is known who was given them
	fewAskers = 8                      // at least so many sendings are taken for the time that passing on needs
	minHold   = 250 * time.Millisecond // for which a block is held back at least
	maxHold   = 15 * time.Second       // less than who asks waits for a block: somebody may know nobody who has it
	maxHeard  = 2 * maxParts           // others of whom one asker is told
	busyTell  = time.Second            // between signs of life while blocks are held back
)

// spread is what a holder knows of those who ask for one root: who they are, what
// they wait for, and who was given what.
type spread struct {
	mu     sync.Mutex
	state  int // of the root, here
	askers map[*asker]struct{}
	given  map[string]gift
	pace   time.Duration // that a block takes to send, smoothed
}

// gift says of a block how many of the askers that are there were given it, and when
// the last one was.
type gift struct {
	n  int
	at time.Time
}

// item is a block that an asker waits for.
type item struct {
	number uint32
	c      cid.Cid
	key    string
	gift   bool // it did not ask
	first  bool // the root, without which nothing begins
	held   bool // the asker knows that it has to wait
}

// join adds an asker and has everybody know of everybody, but of maxHeard at most:
// more than a fetch asks, and few enough that a thousand askers, each of whom is told
// of others, are not told more bytes than a file has.
func (sp *spread) join(a *asker, self peer.AddrInfo) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	a.info = self
	for other := range sp.askers {
		if other.p == a.p || other.peek || a.peek {
			continue
		}
		if len(other.info.Addrs) > 0 {
			a.hears(other.info)
		}
		if len(self.Addrs) > 0 && other.hears(self) {
			other.poke()
		}
	}
	sp.askers[a] = struct{}{}
}

// introduce has the others know of an asker whose addresses were not known when it came:
// it asks before it has told them.
func (sp *spread) introduce(info peer.AddrInfo) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	fresh := false
	for a := range sp.askers {
		if a.p == info.ID && len(a.info.Addrs) == 0 && len(info.Addrs) > 0 {
			a.info, fresh = info, fresh || !a.peek
		}
	}
	if !fresh {
		return
	}
	for other := range sp.askers {
		if other.p != info.ID && !other.peek && other.hears(info) {
			other.poke()
		}
	}
}

// hears has an asker be told of another one, unless it was told of many; the spread's
// lock is held.
func (a *asker) hears(other peer.AddrInfo) bool {
	if len(a.told) >= maxTold || a.heard >= maxHeard {
		return false
	}
	a.told = append(a.told, other)
	a.heard++
	return true
}

// leave forgets an asker; true when it was the last.
func (sp *spread) leave(a *asker) bool {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	delete(sp.askers, a)
	for key := range a.sent {
		if g := sp.given[key]; g.n <= 1 {
			delete(sp.given, key)
		} else {
			g.n--
			sp.given[key] = g
		}
	}
	for other := range sp.askers { // what this one was given need not be held back for it
		other.poke()
	}
	return len(sp.askers) == 0
}

// wakeAll has every asker look for something to do.
func (sp *spread) wakeAll() {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	for a := range sp.askers {
		a.poke()
	}
}

// next returns what to send to an asker now and takes it, if it may, or how long to
// wait for that; 0 is until something changes, and less that it need not be waited for.
// load is the share of the slots that are in use or waited for, 0 to 1. held are the
// numbers of what is held back from now on.
func (sp *spread) next(a *asker, now time.Time, load float64, may bool) (it item, wait time.Duration, held []uint32) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	a.holding = false
	if len(a.queue) == 0 {
		return item{}, 0, nil
	}
	if sp.state != stateWhole || !a.shared {
		return sp.take(a, 0, now, may), -1, nil
	}
	fresh, at, left := -1, -1, time.Duration(0)
	for i := range a.queue {
		it := &a.queue[i]
		g := sp.given[it.key]
		if _, again := a.sent[it.key]; again {
			g.n--
		}
		if g.n <= 0 || it.first {
			if fresh < 0 {
				fresh = i
			}
			continue
		}
		if !it.held {
			it.held = true
			held = append(held, it.number)
		}
		if d := sp.hold(*it, load) - now.Sub(g.at); at < 0 || d < left {
			at, left = i, d
		}
	}
	switch {
	case fresh >= 0:
		return sp.take(a, fresh, now, may), -1, held
	case left <= 0:
		return sp.take(a, at, now, may), -1, held
	}
	a.holding = true
	return item{}, min(max(left, minHold/8), busyTell), held
}

// hold returns how long a block is held back after it was given to somebody: as long
// as that one may need to pass it on to all, while there is something else to send;
// and nodes, without which nothing goes on, shortly.
func (sp *spread) hold(it item, load float64) time.Duration {
	if it.c.Type() != cid.Raw {
		return minHold
	}
	d := time.Duration(load * float64(sp.pace) * float64(max(len(sp.askers), fewAskers)))
	if load >= 1 {
		d *= 4
	}
	return minHold + min(d, maxHold)
}

// take takes an item off an asker's queue, if it may, and notes that it was given it.
func (sp *spread) take(a *asker, i int, now time.Time, may bool) item {
	it := a.queue[i]
	if !may {
		return it
	}
	a.queue = slices.Delete(a.queue, i, i+1)
	if _, again := a.sent[it.key]; again || a.peek || len(a.sent) >= maxGiven || len(sp.given) >= maxGiven {
		return it
	}
	a.sent[it.key] = struct{}{}
	g := sp.given[it.key]
	sp.given[it.key] = gift{g.n + 1, now}
	return it
}

// took notes how long a block took.
func (sp *spread) took(d time.Duration) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.pace += (d - sp.pace) / 8
	for a := range sp.askers {
		if a.holding { // there may be nothing else to send now
			a.poke()
		}
	}
}

// push queues items for an asker; false when it has too many.
func (sp *spread) push(a *asker, items ...item) bool {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if len(a.queue)+len(items) > maxQueue {
		return false
	}
	a.queue = append(a.queue, items...)
	a.poke()
	return true
}

// cancel drops wants of an asker.
func (sp *spread) cancel(a *asker, runs []runOf) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	a.queue = slices.DeleteFunc(a.queue, func(it item) bool {
		return slices.ContainsFunc(runs, func(r runOf) bool { return it.number-r.first < r.n })
	})
}

// mode notes whether an asker has others to ask.
func (sp *spread) mode(a *asker, shared bool) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if a.shared != shared {
		a.shared = shared
		a.poke()
	}
}

// news returns what an asker is to be told: the state of the root and who else asks.
func (sp *spread) news(a *asker) (state int, told []peer.AddrInfo) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	told, a.told = a.told, nil
	return sp.state, told
}
