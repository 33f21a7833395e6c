package bridge

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/ipfs/go-cid"
	ipld "github.com/ipfs/go-ipld-format"

	"github.com/hypha-node/hypha-node/blockstore"
	"github.com/hypha-node/hypha-node/connectors"
	"github.com/hypha-node/hypha-node/dag"
)

// jobScope begins the scopes of jobs; those of credentials are hashes.
const jobScope = "job:"

// OwnScope returns the scope of what is a job's alone: what peers sent to it, what
// it put and did not announce, and what it fetched with a credential. A job that
// is given the id of an earlier one has a scope of its own.
func OwnScope(id string, created time.Time) string {
	return jobScope + id + "@" + strconv.FormatInt(created.UnixNano(), 36)
}

// MayPublish refuses what a job has fetched with a credential, or was given of
// what somebody did. Others may have the same content from where it is public.
func MayPublish(ctx context.Context, store blockstore.Scopes, own string, root cid.Cid) error {
	who, err := store.Audience(ctx, root)
	if ipld.IsNotFound(err) {
		return nil
	}
	if err != nil || who.Public || !who.Admits(own) {
		return err
	}
	for _, scope := range who.Scopes {
		if scope != blockstore.Operator && !strings.HasPrefix(scope, jobScope) {
			return fmt.Errorf("%w: %s was fetched with a credential and can't be announced", connectors.ErrUnauthorized, root)
		}
	}
	return nil
}

// publicity returns where a job's results go, and who judges each file before it
// is there: the job's own scope, or everybody.
func (j *Job) publicity(ctx context.Context, all bool) (blockstore.Store, func(dag.File) (map[string][]byte, error)) {
	if !all {
		return j.store.Scope(j.own), nil
	}
	return j.store, func(f dag.File) (map[string][]byte, error) { return nil, MayPublish(ctx, j.store, j.own, f.Root) }
}
