package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/hypha-node/hypha-node/bitswap/crew"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/dag"
)

// mend takes a content in again, which turned out to be another one than announced,
// with what came from others replaced by what the origin sends: first of those of whom
// one range, drawn by lot, is wrong; then of all. Who lied is banned. It returns nil if
// that is of no use. The content is still where it was written, if the store lets it be
// read there.
func (e *Engine) mend(ctx context.Context, f *flight, body *connectors.Body, want expected) *dag.File {
	if f.joint == nil || len(f.joint.share.Parts()) == 0 || f.part.now() == nil {
		return nil
	}
	m := &mending{e: e, f: f, body: body, want: want, parts: f.joint.share.Parts(), old: f.part.now(), liars: make(map[string]bool)}
	file, err := m.run(ctx)
	f.joint.again = m.again
	if err != nil {
		e.cfg.Logger.WarnContext(ctx, "what others sent is not the content, and could not be replaced", slog.String("url", f.item.URL), slog.Any("error", err))
		return nil
	}
	e.cfg.Logger.WarnContext(ctx, "others sent what is not the content: it was fetched again",
		slog.String("url", f.item.URL), slog.Int64("bytes", m.again), slog.Any("peers", slices.Sorted(maps.Keys(m.liars))))
	for peer := range m.liars {
		e.cfg.Crew.Ban(peer)
		if e.cfg.Finder != nil {
			e.cfg.Finder.Blame(peer, true)
		}
	}
	return file
}

// mending is a content that is being mended.
type mending struct {
	e     *Engine
	f     *flight
	body  *connectors.Body
	want  expected
	parts []crew.Part // that came from others
	old   io.ReaderAt
	liars map[string]bool
	again int64 // bytes that were asked for again
}

func (m *mending) run(ctx context.Context) (*dag.File, error) {
	if err := m.probe(ctx); err != nil {
		return nil, err
	}
	if n := len(m.liars); n > 0 {
		of := maps.Clone(m.liars)
		file, err := m.replace(ctx, func(peer string) bool { return of[peer] })
		if err == nil || !errors.Is(err, connectors.ErrMismatch) {
			return file, err
		}
	}
	return m.replace(ctx, func(string) bool { return true })
}

// probe compares one range of each who sent any with the origin's.
func (m *mending) probe(ctx context.Context) error {
	of := make(map[string][]crew.Part)
	for _, p := range m.parts {
		of[p.Peer] = append(of[p.Peer], p)
	}
	for peer, parts := range of {
		p := parts[rand.IntN(len(parts))]
		p.N = min(p.N, probeBytes)
		r := &mended{m: m, ctx: func() context.Context { return ctx }, parts: []crew.Part{p}, off: p.Off, end: p.Off + p.N}
		_, err := io.Copy(io.Discard, r)
		if err := errors.Join(err, r.Close()); err != nil {
			return fmt.Errorf("probe a range of %s: %w", peer, err)
		}
	}
	return nil
}

// probeBytes is how much of a range is compared first: bytes.
const probeBytes = 64 << 10

// replace takes the content in with the ranges of some replaced.
func (m *mending) replace(ctx context.Context, of func(peer string) bool) (*dag.File, error) {
	it := m.f.item
	parts := slices.DeleteFunc(slices.Clone(m.parts), func(p crew.Part) bool { return !of(p.Peer) })
	r := &mended{m: m, ctx: func() context.Context { return ctx }, parts: parts, end: m.want.size}
	defer r.Close() // it is only read
	o := dag.ImportOptions{Size: m.want.size}
	if m.f.tee != nil {
		o.Tee = m.f.tee
	}
	git, also := m.want.gitHash()
	o.Also = also
	o.Accept = func(file dag.File) (map[string][]byte, error) {
		if err := m.want.check(it, file, git); err != nil {
			return nil, err
		}
		return m.e.aliases(it, m.body, m.want)
	}
	file, err := dag.Import(ctx, partOf(m.e.storeFor(it), m.f.part), r, o)
	return &file, err
}

// mended reads a content from off to end out of what is here, and parts of it from the
// origin. Where those differ from what is here, who sent that is a liar.
type mended struct {
	m     *mending
	ctx   func() context.Context
	parts []crew.Part // in order
	off   int64
	end   int64
	from  io.ReadCloser // the origin, within parts[0]
	was   []byte
}

// Read reads on.
func (r *mended) Read(p []byte) (int, error) {
	if r.off >= r.end {
		return 0, io.EOF
	}
	for len(r.parts) > 0 && r.off >= r.parts[0].Off+r.parts[0].N {
		r.parts = r.parts[1:]
		if err := r.Close(); err != nil {
			return 0, err
		}
	}
	stop := r.end
	if len(r.parts) > 0 {
		if stop = r.parts[0].Off; r.off >= stop {
			return r.ask(p)
		}
	}
	n, err := r.m.old.ReadAt(p[:min(int64(len(p)), stop-r.off)], r.off)
	r.off += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// ask reads from the origin what somebody else sent.
func (r *mended) ask(p []byte) (int, error) {
	part := r.parts[0]
	stop := part.Off + part.N
	if r.from == nil {
		body, _, err := r.m.f.joint.ask(r.ctx(), r.m.f.item, [3]int64{r.off, stop - r.off, r.m.want.size})
		if err != nil {
			return 0, err
		}
		r.from = body
	}
	n, err := r.from.Read(p[:min(int64(len(p)), stop-r.off)])
	r.was = append(r.was[:0], p[:n]...)
	if k, rerr := r.m.old.ReadAt(r.was, r.off); k < n {
		return 0, rerr
	}
	if !bytes.Equal(r.was, p[:n]) {
		r.m.liars[part.Peer] = true
	}
	r.off += int64(n)
	r.m.again += int64(n)
	if errors.Is(err, io.EOF) {
		if err = nil; n == 0 {
			err = io.ErrUnexpectedEOF
		}
	}
	return n, err
}

// Close ends what is being read from the origin.
func (r *mended) Close() error {
	from := r.from
	r.from = nil
	if from == nil {
		return nil
	}
	return from.Close()
}

// now returns where what has come of a content can be read.
func (p *part) now() io.ReaderAt {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.source
}
