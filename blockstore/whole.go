package blockstore

import (
	"context"
	"errors"

	"github.com/ipfs/go-cid"

	"github.com/hypha-node/hypha-node/internal/dagpb"
)

// isWhole tells whether a block is stored and, if deep, all that it links to.
func (d *Disk) isWhole(ctx context.Context, g getter, root cid.Cid, deep bool) (bool, error) {
	seen := make(hashSet)
	for todo := []cid.Cid{root}; len(todo) > 0; {
		c := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if isIdentity(c) || seen.has(c.Hash()) {
			continue
		}
		seen.add(c.Hash())
		known, err := copiesOf(g, c.Hash())
		if errors.Is(err, errAbsent) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if !deep || c.Type() != cid.DagProtobuf {
			continue
		}
		data := make([]byte, known.all[0].length)
		bad, err := d.readExtent(c.Hash(), known.all[0], data)
		if err != nil || bad != "" {
			return false, err
		}
		todo = append(todo, dagpb.Links(c, data)...)
		if err := ctx.Err(); err != nil {
			return false, err
		}
	}
	return true, nil
}
