package hf

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/hypha-node/hypha-node/blockstore/memo"
	"github.com/hypha-node/hypha-node/connectors"
)

// maxKept is how many entries of a listing are remembered at most, in memory: a record
// of more than 256 KiB, which is that of some 2,000 files with a digest, does not go to
// the disk.
const maxKept = 20_000

// The listing of a commit never changes: who has seen it need not ask again. It is
// remembered for the credential that it was told to, or for everybody if none was
// shown or the repository is public.

// recall returns what is remembered of the entries below a directory ("": all).
func (q *query) recall(ctx context.Context, dir string) ([]entry, bool) {
	for _, scope := range q.scopes() {
		for _, at := range []string{"", dir} {
			list, ok := unpack(q.memo.Get(ctx, q.noteKey("listing", q.commit, at, scope)))
			if !ok {
				continue
			}
			if at != dir {
				list = below(list, dir)
			}
			return list, true
		}
	}
	return nil, false
}

// remember keeps the entries below a directory, of which there are not too many. A
// listing with digests left out is not kept: who may read the files is told them.
func (q *query) remember(ctx context.Context, dir string, list []entry) {
	if slices.ContainsFunc(list, func(e entry) bool { return e.LFS != nil && parseSHA256(e.LFS.OID) == nil }) {
		return
	}
	if text := pack(list); text != nil {
		q.memo.Put(ctx, q.noteKey("listing", q.commit, dir, q.scope), text)
	}
}

// rememberCommit keeps what the revision stands for, for when nobody can be asked.
func (q *query) rememberCommit(ctx context.Context) {
	q.memo.Put(ctx, q.noteKey("commit", q.revisionOrMain(), q.scope), []byte(q.commit))
}

// remembered takes the commit that the revision last stood for, if that is known.
func (q *query) remembered(ctx context.Context) bool {
	for _, scope := range q.scopes() {
		if text := string(q.memo.Get(ctx, q.noteKey("commit", q.revisionOrMain(), scope))); isCommit(text) {
			q.commit, q.scope = text, scope
			return true
		}
	}
	return false
}

// scopes returns those for whom something may have been remembered that the query may
// know.
func (q *query) scopes() []string {
	if q.scope == "" {
		return []string{""}
	}
	return []string{q.scope, ""}
}

// noteKey returns the key of what is remembered of the repository.
func (q *query) noteKey(texts ...string) string {
	return memo.Key(append([]string{"hf", q.base, q.ref.RepoType, q.ref.Repository}, texts...)...)
}

// away is the error of a request that would be needed though the hub can't be asked.
func (q *query) away() *connectors.Error {
	err := q.fail(fmt.Errorf("%w: %w", connectors.ErrUpstream, errors.New("this node is set to work offline, and has not all of it")))
	err.Hint = "unset HF_HUB_OFFLINE to fetch from " + q.base
	return err
}

// below returns the entries below a directory.
func below(list []entry, dir string) []entry {
	var inside []entry
	for _, e := range list {
		if strings.HasPrefix(e.Path, dir+"/") {
			inside = append(inside, e)
		}
	}
	return inside
}

// pack returns a listing as a record: JSON, by gzip; nil if it can't be kept.
func pack(list []entry) []byte {
	text, err := json.Marshal(list)
	if err != nil {
		return nil
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(text); err != nil {
		return nil
	}
	if err := z.Close(); err != nil {
		return nil
	}
	return b.Bytes()
}

// unpack reads a record; false if it is none.
func unpack(record []byte) (list []entry, ok bool) {
	if record == nil {
		return nil, false
	}
	z, err := gzip.NewReader(bytes.NewReader(record))
	if err != nil {
		return nil, false
	}
	if err := json.NewDecoder(io.LimitReader(z, maxPage)).Decode(&list); err != nil {
		return nil, false
	}
	return list, true
}
