package bitswap

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/ipfs/go-cid"
	mh "github.com/multiformats/go-multihash"
)

func rootsOf(t *testing.T, n int) (roots []cid.Cid) {
	t.Helper()
	for i := range n {
		sum, err := mh.Sum([]byte(strconv.Itoa(i)), mh.SHA2_256, -1)
		if err != nil {
			t.Fatal(err)
		}
		roots = append(roots, cid.NewCidV1(cid.Raw, sum))
	}
	return roots
}

// TestGathering: what is asked for while a call runs is one call, and each caller
// gets the error of its own.
func TestGathering(t *testing.T) {
	roots := rootsOf(t, 5)
	synctest.Test(t, func(t *testing.T) {
		failed, goOn := errors.New("failed"), make(chan struct{})
		var calls [][]cid.Cid
		g := newGathering(func(_ context.Context, roots []cid.Cid) error {
			calls = append(calls, roots)
			<-goOn
			if len(roots) > 1 {
				return failed
			}
			return nil
		})
		errs := make([]error, len(roots))
		ended := make(chan struct{}, len(roots))
		call := func(ctx context.Context, i int) {
			go func() {
				errs[i] = g.call(ctx, roots[i:i+1])
				ended <- struct{}{}
			}()
			synctest.Wait()
		}
		gone, cancel := context.WithCancel(t.Context())
		call(t.Context(), 0)
		call(t.Context(), 1)
		call(gone, 2)
		call(t.Context(), 3)
		cancel()
		synctest.Wait()
		goOn <- struct{}{}
		goOn <- struct{}{}
		for range 4 {
			<-ended
		}
		if len(calls) != 2 || len(calls[0]) != 1 || !slices.Equal(calls[1], roots[1:4]) {
			t.Errorf("calls %v", calls)
		}
		if errs[0] != nil || !errors.Is(errs[1], failed) || !errors.Is(errs[2], context.Canceled) || !errors.Is(errs[3], failed) {
			t.Errorf("errors %v", errs)
		}
		if err := g.call(gone, roots[4:]); !errors.Is(err, context.Canceled) || len(calls) != 2 {
			t.Errorf("cancelled before: %v, %d calls", err, len(calls))
		}
	})
}
