package control

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"sync/atomic"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/dag"
)

// profile returns the profile that a request names.
func (r AddRequest) profile() (dag.Profile, error) {
	p, err := dag.ParseProfile(r.Profile)
	if err == nil && r.Chunker != "" {
		p, err = p.WithChunker(r.Chunker)
	}
	if err != nil {
		return p, &Error{Status: http.StatusBadRequest, Code: CodeInvalid, Detail: err.Error(), err: err}
	}
	return p, nil
}

// add imports files and directories, streaming each entry.
func (s *Server) add(ctx context.Context, r AddRequest, out *stream[Added]) error {
	profile, err := r.profile()
	if err != nil {
		return err
	}
	if len(r.Paths) == 0 {
		return invalid("no paths")
	}
	defer s.Store.Hold()() // until it is pinned
	for _, name := range r.Paths {
		if !filepath.IsAbs(name) {
			return invalid("path %q is not absolute", name)
		}
		root, err := s.addPath(ctx, r, name, profile, out)
		if err != nil {
			return err
		}
		if !r.HashOnly {
			s.announce(ctx, root)
		}
	}
	return nil
}

// addPath imports one file or directory and pins it.
func (s *Server) addPath(ctx context.Context, r AddRequest, name string, profile dag.Profile, out *stream[Added]) (cid.Cid, error) {
	// A link that the user names is followed, as cp does; links inside a
	// directory stay links.
	real, err := filepath.EvalSymlinks(name)
	if err != nil {
		return cid.Undef, err
	}
	if real == string(filepath.Separator) {
		return cid.Undef, invalid("the root of the file system can't be added")
	}
	info, err := os.Stat(real)
	if err != nil {
		return cid.Undef, err
	}
	dir, err := os.OpenRoot(filepath.Dir(real))
	if err != nil {
		return cid.Undef, err
	}
	defer dir.Close() // it was only read

	label := filepath.Base(name)
	var done atomic.Int64
	meter := func(n int64) {
		p := Progress{Path: label, Done: done.Add(n)}
		if !info.IsDir() {
			p.Total = info.Size()
		}
		out.progress(p)
	}
	var gone error
	o := dag.TreeOptions{
		ImportOptions: dag.ImportOptions{Profile: profile, HashOnly: r.HashOnly, Progress: meter},
		Hidden:        r.Hidden,
		OnEntry: func(e dag.Entry) {
			if gone == nil && e.Path != "" && !r.RootsOnly {
				gone = out.item(wireAdded(label, e))
			}
		},
	}
	size := int64(-1)
	if info.Mode().IsRegular() {
		size = info.Size()
	}
	share, err := s.Engine.Memory().Take(ctx, dag.ImportMemory(size))
	if err != nil {
		return cid.Undef, err
	}
	defer share.Release()
	root, err := dag.ImportTree(ctx, s.Store, dir, filepath.Base(real), o)
	if err = errors.Join(err, gone); err != nil {
		return cid.Undef, err
	}
	if !r.HashOnly && !r.NoPin {
		if err := s.Store.Pin(ctx, blockstore.Pin{Root: root.Cid}); err != nil {
			return cid.Undef, err
		}
	}
	out.finished(label)
	last := wireAdded(label, root)
	last.Root = true
	return root.Cid, out.item(last)
}

// wireAdded returns the wire form of an entry of the tree called label.
func wireAdded(label string, e dag.Entry) Added {
	name := path.Join(label, e.Path)
	return Added{Path: name, CID: cidText(e.Cid), Size: e.Size, SHA256: digest(e.SHA256), Type: e.Type.String()}
}

// digest returns the hex digits of a sha256, "" for none.
func digest(sum *[32]byte) string {
	if sum == nil {
		return ""
	}
	return hex.EncodeToString(sum[:])
}

// addContent imports the request's body as one file.
func (s *Server) addContent(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	req := AddRequest{
		Name: q.Get("name"), Profile: q.Get("profile"), Chunker: q.Get("chunker"),
		HashOnly: q.Get("hash_only") == "true", NoPin: q.Get("no_pin") == "true",
	}
	added, err := s.addStream(r.Context(), req, r.Body, r.ContentLength)
	if err != nil {
		refuse(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, added)
}

// addStream imports and pins what content yields: size bytes, -1 if that is not known.
func (s *Server) addStream(ctx context.Context, r AddRequest, content io.Reader, size int64) (Added, error) {
	profile, err := r.profile()
	if err != nil {
		return Added{}, err
	}
	share, err := s.Engine.Memory().Take(ctx, dag.ImportMemory(size))
	if err != nil {
		return Added{}, err
	}
	defer share.Release()
	defer s.Store.Hold()() // until it is pinned
	f, err := dag.Import(ctx, s.Store, content, dag.ImportOptions{Profile: profile, HashOnly: r.HashOnly})
	if err != nil {
		return Added{}, err
	}
	if !r.HashOnly && !r.NoPin {
		if err := s.Store.Pin(ctx, blockstore.Pin{Root: f.Root}); err != nil {
			return Added{}, err
		}
	}
	if !r.HashOnly {
		s.announce(ctx, f.Root)
	}
	return Added{Path: r.Name, CID: f.Root.String(), Size: f.Size, SHA256: digest(&f.SHA256), Type: dag.TypeFile.String(), Root: true}, nil
}

// refuse answers with an error while the client may still be sending: the
// answer goes out at once, then what comes is thrown away until the client has
// read it and hangs up. Without this the client would see a broken connection
// instead of the reason.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	c := http.NewResponseController(w)
	duplex := c.EnableFullDuplex()
	w.Header().Set("Connection", "close")
	writeError(w, err)
	if errors.Is(duplex, http.ErrNotSupported) {
		return // in this process the client stops sending when it has the answer
	}
	if c.Flush() == nil {
		_, _ = io.Copy(io.Discard, r.Body) //nolint:errcheck // ends when the client hangs up
	}
}
