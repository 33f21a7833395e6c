package swarm

import (
	"io"

	"github.com/ipfs/go-cid"
)

// maxKnown bounds the blocks of one fetch whose places are remembered, and so what of
// a very large DAG is served before all of it is here: 1 TiB in blocks of 1 MiB.
const maxKnown = 1 << 20

// place is where a block lies that a fetch has got.
type place struct {
	t    *table // that links to it; nil for the root and while that is not known
	i    int    // at this position
	data []byte // in memory, verified; else
	from io.ReaderAt
	off  int64 // in from
	size int
}

// Links says what a node links to, before its links are asked for. The slice must
// not be changed afterwards.
func (f *Fetch) Links(node cid.Cid, links []cid.Cid) {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := keyOf(node)
	if f.closed || f.tables[key] != nil || len(f.places) > maxKnown {
		return
	}
	t := &table{key: key, node: node, links: links, have: make(bitmap, (len(links)+7)/8)}
	f.tables[key] = t
	for i, c := range links {
		k := keyOf(c)
		p := f.places[k]
		if p == nil {
			p = &place{}
			f.places[k] = p
		}
		if p.t == nil {
			p.t, p.i = t, i
		}
		if p.size > 0 || p.data != nil {
			t.have.set(i)
		}
	}
}

// Placed says that a block that was delivered, or was here, lies in a file that is
// being written: size bytes at offset off of from, which may fail later on.
func (f *Fetch) Placed(c cid.Cid, off int64, size int, from io.ReaderAt) {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return
	}
	p := f.places[keyOf(c)]
	fresh := false
	if p == nil && len(f.places) <= maxKnown {
		p = &place{}
		f.places[keyOf(c)] = p
	}
	if p != nil {
		fresh = p.size == 0
		p.data, p.from, p.off, p.size = nil, from, off, size
		p.note()
	}
	f.mu.Unlock()
	if fresh {
		f.tellOthers()
	}
}

// Stored says that a block is in the store.
func (f *Fetch) Stored(c cid.Cid, size int) { f.Placed(c, 0, size, nil) }

// note marks a block that is here in the table of its node.
func (p *place) note() {
	if p.t != nil {
		p.t.have.set(p.i)
	}
}

// keep remembers a block that came; f.mu is held.
func (f *Fetch) keep(key string, data []byte) {
	if f.o.Peek {
		return
	}
	p := f.places[key]
	if p == nil {
		if len(f.places) > maxKnown {
			return
		}
		p = &place{}
		f.places[key] = p
	}
	if p.size == 0 {
		p.data, p.size = data, len(data)
		p.note()
	}
}

// read returns the verified bytes of a block that has come and is not in the store
// yet, or nil.
func (f *Fetch) read(c cid.Cid) []byte {
	f.mu.Lock()
	p := f.places[keyOf(c)]
	if p == nil || p.data != nil || p.from == nil {
		var data []byte
		if p != nil {
			data = p.data
		}
		f.mu.Unlock()
		return data
	}
	from, off, size := p.from, p.off, p.size
	f.mu.Unlock()
	data := make([]byte, size)
	if _, err := from.ReadAt(data, off); err != nil || !matches(c, data) {
		return nil
	}
	return data
}

// linksOf returns what a node links to, nil if it is not known.
func (f *Fetch) linksOf(key string) []cid.Cid {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t := f.tables[key]; t != nil {
		return t.links
	}
	return nil
}

// news returns the bodies of frames that tell what has come since known, which it
// brings up to date.
func (f *Fetch) news(known map[string]bitmap) [][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	var bodies [][]byte
	for key, t := range f.tables {
		old := known[key]
		if old == nil {
			old = make(bitmap, len(t.have))
			known[key] = old
		}
		from, diff := t.have.news(old)
		if diff == nil {
			continue
		}
		bodies = append(bodies, haveBody(t.node, from, diff))
		copy(old, t.have)
	}
	return bodies
}

// tellOthers has those who ask for this root told what is new.
func (f *Fetch) tellOthers() {
	f.s.mu.Lock()
	sp := f.s.spreads[f.rootKey]
	f.s.mu.Unlock()
	if sp != nil {
		sp.wakeAll()
	}
}
