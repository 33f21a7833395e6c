package bridge

import (
	"context"
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/dag"
)

// Put takes a file or a directory of the work directory into the store: pinned
// for the job, or, with Pin, until somebody removes the pin. A directory is taken
// as it is, symlinks as symlinks; what is written to meanwhile may be in it or
// not, but each file is one of its states.
//
// Errors: a *PathError for a path that is neither, or holds what is neither,
// ErrNotFound, ErrConflict, ErrBusy, connectors.ErrUnauthorized for content
// that was fetched with a credential and may not be announced, and the store's.
func (j *Job) Put(ctx context.Context, r PutRequest) (Published, error) {
	if err := checkPath(r.Path); err != nil {
		return Published{}, &PathError{Path: r.Path, Err: err}
	}
	if err := j.limits.out.enter(ctx, slotWait); err != nil {
		return Published{}, err
	}
	defer j.limits.out.leave()
	ctx, end, err := j.begin(ctx)
	if err != nil {
		return Published{}, err
	}
	defer end()
	defer j.hold()() // until it is pinned
	got, root, err := j.publishPath(ctx, r)
	if err != nil {
		return Published{}, cause(ctx, fmt.Errorf("put %q: %w", r.Path, err))
	}
	pin := blockstore.Pin{Root: root, Name: putPin(j.info.ID, r), Created: j.now()}
	if err := j.store.Pin(ctx, pin); err != nil {
		return Published{}, cause(ctx, fmt.Errorf("put %q: %w", r.Path, err))
	}
	if r.Announce && j.announce != nil {
		if err := j.announce(ctx, root); err != nil {
			return Published{}, cause(ctx, fmt.Errorf("announce %s: %w", root, err))
		}
	}
	j.ledger.put()
	return got, nil
}

// publishPath takes the path into the store.
func (j *Job) publishPath(ctx context.Context, r PutRequest) (Published, cid.Cid, error) {
	info, err := j.root.Lstat(r.Path)
	if err != nil {
		return Published{}, cid.Undef, missing(r.Path, err)
	}
	if info.IsDir() {
		return j.publishDir(ctx, r)
	}
	file, _, err := j.snapshot(ctx, r.Path, r.Announce)
	if err != nil {
		return Published{}, cid.Undef, err
	}
	return Published{CID: file.Root.String(), Size: file.Size, Checksum: checksum(file.SHA256)}, file.Root, nil
}

// publishDir takes a directory into the store.
func (j *Job) publishDir(ctx context.Context, r PutRequest) (Published, cid.Cid, error) {
	dst, accept := j.publicity(ctx, r.Announce)
	o := dag.TreeOptions{Hidden: true, ImportOptions: dag.ImportOptions{Accept: accept}}
	share, err := j.memory().Take(ctx, dag.ImportMemory(-1))
	if err != nil {
		return Published{}, cid.Undef, err
	}
	defer share.Release()
	e, err := dag.ImportTree(ctx, dst, j.root, r.Path, o)
	if errors.Is(err, dag.ErrChanged) {
		err = fmt.Errorf("%w: %w", ErrConflict, err)
	}
	if errors.Is(err, dag.ErrSpecial) {
		return Published{}, cid.Undef, &PathError{Path: r.Path, Err: err}
	}
	if err == nil {
		err = j.store.Admit(ctx, e.Cid, j.own)
	}
	if err != nil {
		return Published{}, cid.Undef, err
	}
	return Published{CID: e.Cid.String(), Size: e.Size}, e.Cid, nil
}
