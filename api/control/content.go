package control

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/ipfs/go-cid"
	format "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/connectors/ipfs"
	"github.com/hypha-node/hypha-node/dag"
)

// cat answers with bytes of one file, verified before they are sent. The length
// is told beforehand.
func (s *Server) cat(w http.ResponseWriter, r *http.Request) {
	req, err := catRequest(r.URL.Query())
	if err != nil {
		writeError(w, err)
		return
	}
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	defer s.Store.Hold()() // until it is sent: nothing pins it
	file, err := s.openFile(ctx, s.source(ctx, req.TimeoutMS), req)
	if err != nil {
		writeError(w, err)
		return
	}
	defer file.Close() // it was only read
	n, err := span(file.Size(), req)
	if err != nil {
		writeError(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	sendContent(w, r, n, func(w io.Writer) error {
		_, err := file.CopyRange(ctx, w, req.Offset, n)
		return err
	})
}

// sendContent answers with n bytes of content that copyTo writes. If the rest can't
// be had, a client that said "TE: trailers" finds the reason in a trailer, others a
// body that is too short.
func sendContent(w http.ResponseWriter, r *http.Request, n int64, copyTo func(w io.Writer) error) {
	trailers := r.Header.Get("TE") == "trailers"
	if trailers {
		w.Header().Set("Trailer", trailerError)
	} else {
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	}
	w.WriteHeader(http.StatusOK)
	if err := copyTo(w); err != nil && trailers && r.Context().Err() == nil {
		if text, jerr := json.Marshal(describe(err)); jerr == nil {
			w.Header().Set(trailerError, string(text))
		}
	}
}

// catRequest reads the query of a cat.
func catRequest(q url.Values) (CatRequest, error) {
	r := CatRequest{Path: q.Get("path"), Length: -1}
	for _, f := range []struct {
		name string
		into *int64
	}{{"offset", &r.Offset}, {"length", &r.Length}, {"timeout_ms", &r.TimeoutMS}} {
		text := q.Get(f.name)
		if text == "" {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return r, invalid("%s: %q is no number", f.name, text)
		}
		*f.into = n
	}
	if r.Offset < 0 {
		return r, invalid("offset: %d is negative", r.Offset)
	}
	return r, nil
}

// openFile opens the file that a request names.
func (s *Server) openFile(ctx context.Context, src dag.Getter, r CatRequest) (*dag.Reader, error) {
	c, err := resolve(ctx, src, r.Path)
	if err != nil {
		return nil, err
	}
	if _, err := s.Store.File(ctx, c); err == nil {
		return dag.Open(ctx, s.Store, c) // whole and in one piece: past the blocks
	} else if !format.IsNotFound(err) {
		return nil, err
	}
	return dag.Open(ctx, src, c)
}

// span returns how many bytes of a file of that size a request means.
func span(size int64, r CatRequest) (int64, error) {
	if r.Offset > size {
		return 0, invalid("offset: %d is beyond the end, the file has %d bytes", r.Offset, size)
	}
	rest := size - r.Offset
	if r.Length >= 0 && r.Length < rest {
		return r.Length, nil
	}
	return rest, nil
}

// list streams the entries of a directory.
func (s *Server) list(ctx context.Context, r PathRequest, out *stream[Entry]) error {
	ctx, stop := context.WithCancel(ctx) // ends the session
	defer stop()
	src := s.source(ctx, r.TimeoutMS)
	c, err := resolve(ctx, src, r.Path)
	if err != nil {
		return err
	}
	for e, err := range dag.List(ctx, src, c) {
		if err != nil {
			return err
		}
		if err := out.item(Entry{Name: e.Path, CID: cidText(e.Cid), Size: e.Size, Type: e.Type.String()}); err != nil {
			return err
		}
	}
	return nil
}

// stat describes a node of a DAG.
func (s *Server) stat(ctx context.Context, r PathRequest) (Stat, error) {
	ctx, stop := context.WithCancel(ctx) // ends the session
	defer stop()
	src := s.source(ctx, r.TimeoutMS)
	c, err := resolve(ctx, src, r.Path)
	if err != nil {
		return Stat{}, err
	}
	info, err := dag.Stat(ctx, src, c)
	if err != nil {
		return Stat{}, err
	}
	st := Stat{CID: c.String(), Type: info.Type.String(), Size: info.Size, Links: info.Links}
	switch f, err := s.Store.File(ctx, c); {
	case err == nil:
		st.Local, st.SHA256 = true, digest(&f.SHA256)
	case !format.IsNotFound(err):
		return st, err
	}
	for p, err := range s.Store.Pins(ctx) {
		if err != nil {
			return st, err
		}
		if p.Root.Equals(c) {
			st.Pins = append(st.Pins, wirePin(p))
		}
	}
	return st, nil
}

// whole makes sure that everything under a name is stored here and returns its
// CID.
func (s *Server) whole(ctx context.Context, name string, timeoutMS int64) (cid.Cid, error) {
	ctx, stop := context.WithCancel(ctx) // ends the session
	defer stop()
	c, err := resolve(ctx, s.source(ctx, timeoutMS), name)
	if err != nil {
		return cid.Undef, err
	}
	_, err = s.blocks(timeoutMS).Fetch(ctx, c, dag.CopyOptions{Keep: true})
	return c, err
}

// source returns where an operation reads blocks, which ends with ctx: the
// store first, then peers.
func (s *Server) source(ctx context.Context, timeoutMS int64) dag.Getter {
	return s.blocks(timeoutMS).Getter(ctx)
}

// blocks returns the connector that gives up after a timeout without progress,
// and looks for other providers before.
func (s *Server) blocks(timeoutMS int64) *ipfs.Connector {
	limit := timeout(timeoutMS)
	c := s.Blocks.WithTimeout(limit)
	if limit > 0 && limit < 2*ipfs.DefaultStall {
		c.Stall = limit / 2
	}
	return c
}
