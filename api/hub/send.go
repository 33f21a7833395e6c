package hub

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/connectors/ingest"
	"github.com/hypha-node/hypha-node/dag"
)

// Sizes of what is sent at a time, in bytes.
const (
	withheld  = 64 << 10 // at the end of what is not verified yet
	comingBuf = 256 << 10
	storedBuf = 8 << 20 // read ahead of a client, verified
	crowdBuf  = 2 << 20 // the same when there are more than crowd requests
	crowd     = 16
	// storedStep is sent before it is asked again whether there is a crowd: each
	// step begins with buffers that are new and a pipeline that is empty.
	storedStep = 128 << 20
)

// pinName is the pin of what came in through the façade.
const pinName = "hub"

// send answers with the content of a file: out of the store or, if it is not
// there, while it comes in.
func (s *Server) send(w *client, r *http.Request, l located, p piece, token connectors.Secret) {
	it, err := s.cfg.Hub.Item(l.File, token, l.public, connectors.Access{})
	if err != nil {
		s.unreachable(w, r, err)
		return
	}
	spoilt := s.spoilt.has(it.Key, s.cfg.Now())
	if p.off > 0 && spoilt {
		refuse(w, r, http.StatusBadGateway, "", "a download of this file failed a short while ago: what was received of it must be thrown away, not continued")
		return
	}
	release := s.hold() // until it is sent, or its download pins it
	got, ok, err := s.cfg.Engine.Find(r.Context(), it)
	if ok && err == nil {
		defer release()
		s.sendStored(r.Context(), w, got, p)
		return
	}
	release()
	if err != nil {
		s.failed(w, r, err)
		return
	}
	send := s.sendComing
	if p.isShort() && !spoilt && s.peeks.take(it.Key) {
		send = s.pass
	}
	if err := send(w, r, it, p); err != nil {
		s.refused(w, r, l, token, err)
	}
}

// refused answers when an origin does not give content that it was said to have.
// If that is for the client to know, the upstream is asked for its own words.
func (s *Server) refused(w http.ResponseWriter, r *http.Request, l located, token connectors.Secret, err error) {
	if !errors.Is(err, connectors.ErrUnauthorized) && !errors.Is(err, connectors.ErrNotFound) {
		s.failed(w, r, err)
		return
	}
	t := target{route: routeResolve, kind: l.RepoType, repo: l.Repository, revision: l.Commit, path: l.Path}
	ctx, cancel := s.join(r.Context())
	defer cancel()
	a, aerr := s.put(ctx, question{method: http.MethodHead, path: t.filePath(l.Commit), token: token})
	if aerr != nil || a.ok() {
		s.failed(w, r, err)
		return
	}
	undescribe(w.Header())
	a.write(w, r, baseOf(r))
}

// hold keeps collections of garbage off.
func (s *Server) hold() (release func()) {
	if h, ok := s.cfg.Store.(interface{ Hold() func() }); ok {
		return h.Hold()
	}
	return func() {}
}

// sendStored sends what the store has. An error cuts the answer short.
func (s *Server) sendStored(ctx context.Context, out *client, got ingest.Fetched, p piece) {
	file, err := dag.Open(ctx, s.cfg.Store, got.File.Root)
	if err != nil {
		s.cut(ctx, err)
		return
	}
	defer file.Close() // it was only read
	if !out.begun {
		p.begin(out)
	}
	file.ReadAhead(storedBuf)
	for off := p.off; off < p.end; {
		n, err := file.CopyRange(ctx, out, off, min(s.step(), p.end-off))
		if off += n; err != nil {
			s.cut(ctx, err)
			return
		}
	}
}

// step returns how many bytes are sent in one go, at most storedBuf of them held.
func (s *Server) step() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.serving > crowd {
		return crowdBuf
	}
	return storedStep
}

// cut notes why an answer ends too early: the server closes the connection of
// one that is shorter than it said.
func (s *Server) cut(ctx context.Context, err error) {
	if ctx.Err() == nil {
		s.cfg.Logger.InfoContext(ctx, "answer was cut", slog.Any("error", err))
	}
}

// download is a Fetch for one client.
type download struct {
	view *ingest.View
	done chan struct{} // closed when got and err are set
	got  ingest.Fetched
	err  error
}

// download begins a Fetch. It ends some time after left is called, unless others
// want the same; Close waits for it.
func (s *Server) download(ctx context.Context, it connectors.Item) (d *download, left func()) {
	d = &download{view: ingest.NewView(), done: make(chan struct{})}
	ctx, cancel := s.join(ctx)
	s.running.Go(func() {
		defer cancel()
		d.got, d.err = s.cfg.Engine.Fetch(ctx, it, ingest.Options{View: d.view, Pin: pinName})
		close(d.done)
	})
	return d, func() {
		if s.cfg.Linger < 0 {
			cancel()
			return
		}
		s.running.Go(func() {
			timer := time.NewTimer(s.cfg.Linger)
			defer timer.Stop()
			select {
			case <-timer.C:
				cancel()
			case <-d.done:
			}
		})
	}
}

// sendComing sends content while it comes in. Its end is sent when the whole is
// verified and in the store. An error says that nothing was sent.
func (s *Server) sendComing(out *client, r *http.Request, it connectors.Item, p piece) error {
	ctx := r.Context()
	d, left := s.download(ctx, it)
	defer left()
	if err := d.view.Began(ctx); err != nil && !errors.Is(err, ingest.ErrEnded) {
		return nil // the client has gone
	}
	sent, err := s.sendUnverified(ctx, out, d, p)
	if err != nil {
		s.cut(ctx, err)
		return nil
	}
	select {
	case <-d.done:
	case <-ctx.Done():
		return nil
	}
	switch {
	case d.err != nil && !out.begun:
		return d.err
	case d.err != nil || !d.view.Same():
		if sent > 0 {
			s.spoilt.add(it.Key, s.cfg.Now())
		}
		s.cut(ctx, d.err)
	default:
		p.off += sent
		s.sendStored(ctx, out, d.got, p)
	}
	return nil
}

// sendUnverified sends what has come of a piece but for its end, and returns how
// many bytes that was. What ends the download ends it without an error.
func (s *Server) sendUnverified(ctx context.Context, out *client, d *download, p piece) (sent int64, err error) {
	var buf []byte
	for end := p.end - withheld; p.off+sent < end; {
		if buf == nil {
			buf = make([]byte, comingBuf)
		}
		n, err := d.view.ReadAt(ctx, buf[:min(comingBuf, end-p.off-sent)], p.off+sent)
		if errors.Is(err, ingest.ErrEnded) || errors.Is(err, ingest.ErrRestarted) {
			return sent, nil
		}
		if err != nil {
			return sent, err
		}
		if !out.begun {
			p.begin(out)
		}
		m, err := out.Write(buf[:n])
		sent += int64(m)
		if err == nil {
			err = out.control.Flush()
		}
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// failed answers when content could not be had.
func (s *Server) failed(w http.ResponseWriter, r *http.Request, err error) {
	undescribe(w.Header())
	origin, ok := errors.AsType[*connectors.Error](err)
	switch {
	case ok && errors.Is(err, connectors.ErrUnauthorized) && origin.Status >= http.StatusBadRequest:
		refuse(w, r, origin.Status, "", err.Error())
	case errors.Is(err, connectors.ErrNotFound):
		refuse(w, r, http.StatusNotFound, "EntryNotFound", err.Error())
	case ok && origin.Status == http.StatusTooManyRequests:
		refuse(w, r, origin.Status, "", err.Error())
	case errors.Is(err, ingest.ErrClosed):
		refuse(w, r, http.StatusServiceUnavailable, "", err.Error())
	case isFull(err):
		refuse(w, r, http.StatusInsufficientStorage, "", err.Error())
	default:
		s.unreachable(w, r, err)
	}
}
