package hub

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/hypha-node/hypha-node/blockstore/memo"
	"github.com/hypha-node/hypha-node/connectors/hf"
)

// proofLife is how long a credential's access to a repository that is not public
// holds without being asked for again, while the upstream can be asked.
const proofLife = 10 * time.Minute

// fact is what is known of a file at a commit, whoever asks.
type fact struct {
	Size int64  `json:"size"`
	ETag string `json:"etag"`
	Xet  string `json:"xet,omitempty"` // hf.File.XetHash
}

// noteFile remembers a file; durably if a client has asked for it by itself: a
// listing may be long.
func (s *Server) noteFile(ctx context.Context, t target, f hf.File, durable bool) {
	text, err := json.Marshal(fact{f.Size, f.ETag, f.XetHash})
	if err != nil {
		return
	}
	key := memo.Key("file", t.at(f.Commit), f.Path)
	if durable {
		s.cfg.Memo.Put(ctx, key, text)
		return
	}
	s.cfg.Memo.Note(key, text)
}

// file returns a file that is known at a commit.
func (s *Server) file(ctx context.Context, t target, commit string) (hf.File, bool) {
	var known fact
	text := s.cfg.Memo.Get(ctx, memo.Key("file", t.at(commit), t.path))
	if text == nil || json.Unmarshal(text, &known) != nil {
		return hf.File{}, false
	}
	f := hf.File{RepoType: t.kind, Repository: t.repo, Commit: commit, Path: t.path, Size: known.Size}
	f = f.WithETag(known.ETag)
	if f.SHA256 != nil {
		f.XetHash = known.Xet
	}
	return f, true
}

// noteAccess remembers that a scope may have the content of a repository at a
// commit; "" means everybody.
func (s *Server) noteAccess(ctx context.Context, t target, commit, scope string) {
	s.cfg.Memo.Put(ctx, memo.Key("access", t.at(commit), scope), []byte(strconv.FormatInt(s.cfg.Now().Unix(), 10)))
}

// access tells whether a scope may have the content of a repository at a commit,
// as far as is known, and whether everybody may. An old proof is good enough when
// nobody can be asked.
func (s *Server) access(ctx context.Context, t target, commit, scope string, old bool) (may, public bool) {
	if s.cfg.Memo.Get(ctx, memo.Key("access", t.at(commit), "")) != nil {
		return true, true
	}
	if scope == "" {
		return false, false
	}
	at, err := strconv.ParseInt(string(s.cfg.Memo.Get(ctx, memo.Key("access", t.at(commit), scope))), 10, 64)
	return err == nil && (old || s.young(at, proofLife)), false
}

// branch is what a revision stood for.
type branch struct {
	Commit string `json:"commit"`
	Time   int64  `json:"time"`
}

// noteBranch remembers what a revision stands for now.
func (s *Server) noteBranch(ctx context.Context, t target, scope, commit string) {
	if t.revision == commit {
		return
	}
	if text, err := json.Marshal(branch{commit, s.cfg.Now().Unix()}); err == nil {
		s.cfg.Memo.Put(ctx, memo.Key("branch", t.kind, t.repo, t.revision, scope), text)
	}
}

// branchOf returns the commit that a revision stands for, "" if it is not known;
// young says that it surely still is so.
func (s *Server) branchOf(ctx context.Context, t target, scope string) (commit string, young bool) {
	if hf.IsCommit(t.revision) {
		return t.revision, true
	}
	var b branch
	text := s.cfg.Memo.Get(ctx, memo.Key("branch", t.kind, t.repo, t.revision, scope))
	if text == nil || json.Unmarshal(text, &b) != nil {
		return "", false
	}
	return b.Commit, s.young(b.Time, s.cfg.Fresh)
}

// noteListing remembers the files of a listing at a commit.
func (s *Server) noteListing(ctx context.Context, t target, commit string, body []byte) {
	files, err := hf.Files(body, hf.File{RepoType: t.kind, Repository: t.repo, Commit: commit})
	if err != nil {
		return // the client will see for itself
	}
	for _, f := range files {
		s.noteFile(ctx, t, f, false)
	}
}
