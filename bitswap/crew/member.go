package crew

import (
	"context"
	"encoding/hex"
	"io"
	"log/slog"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// member is somebody else who fetches the content.
type member struct {
	id     peer.ID
	links  int // streams between us
	since  time.Time
	told   bool // it has said what it has claimed
	deaf   bool // it is not waited for any more
	count  int  // of its claims, as it has told last
	heard  int  // Share.serial, as it has heard last
	claims marks
	got    marks
	moved  time.Time // when it claimed or got a range last
	at     int
	no     bool
	whole  bool
	reads  int       // ranges that it is sending
	hold   time.Time // before then it is not asked
	slow   time.Time // before then it is as if it had claimed nothing
	stalls int       // times that it kept the reader waiting
	fails  int       // reads in a row that failed

	refused map[int]time.Time // ranges, and when it did not send them
}

// link tells a peer of this node for as long as both fetch the content.
func (sh *Share) link(ctx context.Context, g greeting) {
	p := g.p
	defer func() {
		sh.mu.Lock()
		came := sh.linked[p]
		delete(sh.linked, p)
		sh.mu.Unlock()
		if came && ctx.Err() == nil { // it may have begun after it said that it had not
			sh.meet(p)
		}
	}()
	yes := false
	said := false
	st, hang, err := sh.s.dial(context.WithoutCancel(ctx), p)
	if err == nil {
		defer func() {
			if !said {
				reset(st)
			}
			hang()
		}()
		stop := context.AfterFunc(ctx, func() {
			if err := st.SetDeadline(time.Now().Add(lastTime)); err != nil {
				reset(st)
			}
		})
		defer stop()
		yes = sh.ask(ctx, st)
	}
	if yes {
		yes = sh.enter(p)
	}
	if g.first {
		sh.answered()
	}
	if !yes {
		return
	}
	defer sh.exit(p)
	said = sh.report(st) == nil && st.Close() == nil
}

// ask asks a peer whether it fetches the content.
func (sh *Share) ask(ctx context.Context, st network.Stream) bool {
	if ctx.Err() != nil || st.SetDeadline(time.Now().Add(greetTime)) != nil {
		return false
	}
	if _, err := st.Write(head{kindMeet, sh.content.Sum, sh.content.Size, 0}.encode()); err != nil {
		return false
	}
	var answer [1]byte
	_, err := io.ReadFull(st, answer[:])
	return err == nil && answer[0] == 1
}

// report tells a member what is new until the share is left.
func (sh *Share) report(st network.Stream) error {
	known := &told{claims: newMarks(sh.count), got: newMarks(sh.count), at: -1}
	p := st.Conn().RemotePeer()
	sign := time.NewTicker(lifeTime)
	defer sign.Stop()
	if err := st.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	for {
		sh.mu.Lock()
		ended := isClosed(sh.left)
		notes := sh.news(known, sh.members[p])
		changed := sh.changed
		sh.mu.Unlock()
		limit := writeTime
		if ended {
			limit = lastTime
		}
		if err := st.SetWriteDeadline(time.Now().Add(limit)); err != nil {
			return err
		}
		if len(notes) > 0 {
			if _, err := st.Write(notes); err != nil {
				return err
			}
		}
		if ended {
			return nil
		}
		select {
		case <-changed:
		case <-sh.left:
		case <-sign.C:
			known.at = -1
		}
	}
}

// told is what a member was told.
type told struct {
	claims    marks
	got       marks
	at        int
	no, whole bool
	serial    int
	heard     int
}

// news returns notes of what a member was not told, which it brings up to date; sh.mu
// is held.
func (sh *Share) news(t *told, m *member) (b []byte) {
	sh.mine.differs(t.claims, func(first, n int, set bool) {
		kind := byte(noteDrop)
		if set {
			kind = noteClaim
		}
		b = note{kind, first, n}.append(b)
	})
	sh.got.differs(t.got, func(first, n int, _ bool) { b = note{noteHave, first, n}.append(b) })
	copy(t.claims, sh.mine)
	copy(t.got, sh.got)
	if sh.at != t.at { // the first time, too, when there are no claims
		b = note{noteAt, sh.at, 0}.append(b)
	}
	if sh.no && !t.no {
		b = note{noteNo, 0, 0}.append(b)
	}
	if sh.whole && !t.whole {
		b = note{noteWhole, 0, 0}.append(b)
	}
	if sh.serial != t.serial {
		b = note{noteCount, sh.serial, 0}.append(b)
	}
	if m.count != t.heard { // behind the claims that were made before
		b = note{noteHeard, m.count, 0}.append(b)
	}
	t.at, t.no, t.whole, t.serial, t.heard = sh.at, sh.no, sh.whole, sh.serial, m.count
	return b
}

// enter counts a stream with a member; false when there are too many members.
func (sh *Share) enter(p peer.ID) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	m := sh.members[p]
	if m == nil {
		if len(sh.members) >= maxMembers {
			return false
		}
		m = &member{id: p, since: time.Now(), claims: newMarks(sh.count), got: newMarks(sh.count), refused: make(map[int]time.Time)}
		sh.members[p] = m
		sh.s.log.Debug("a member came", slog.String("peer", p.String()), slog.String("sha256", hex.EncodeToString(sh.content.Sum[:])))
	}
	m.links++
	sh.tell()
	return true
}

// exit undoes enter. Who has left is forgotten, unless it has all.
func (sh *Share) exit(p peer.ID) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	m := sh.members[p]
	if m.links--; m.links == 0 && !m.whole {
		delete(sh.members, p)
	}
	sh.tell()
}

// heed takes a note of a member.
func (sh *Share) heed(p peer.ID, n note) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	m := sh.members[p]
	switch n.kind {
	case noteClaim, noteDrop:
		for i := n.first; i < n.first+n.n; i++ {
			m.claims.put(i, n.kind == noteClaim)
			m.moved = time.Now()
			if n.kind == noteClaim && p < sh.s.cfg.Host.ID() {
				sh.yield(i)
			}
		}
	case noteHave:
		for i := n.first; i < n.first+n.n; i++ {
			m.got.put(i, true)
			m.moved = time.Now()
			sh.yield(i)
		}
	case noteAt:
		m.at, m.told = n.first, true // behind its claims
	case noteNo:
		m.no = true
	case noteWhole:
		m.whole = true
	case noteCount:
		m.count = n.first
	case noteHeard:
		m.heard = n.first
	}
	sh.tell()
}

// yield leaves a range to a member that has claimed it, too, if nothing of it is here.
func (sh *Share) yield(i int) {
	if sh.r == nil || sh.got.has(i) {
		return
	}
	if sl := sh.r.slots[i]; sl != nil && sl.busy && sl.from == "" && sl.filled == 0 {
		sl.left = true
		sl.cancel()
	}
}
