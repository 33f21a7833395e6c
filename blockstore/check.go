package blockstore

import (
	"context"
	"iter"
	"runtime"
	"sync"

	mh "github.com/multiformats/go-multihash"
)

// checkJob is one block to hash again.
type checkJob struct {
	hash mh.Multihash
	at   extent
	see  func(data []byte) // called with good bytes by one of several goroutines, may be nil
}

// checked is what became of a job: bad says what is wrong with the bytes, err
// that they could not be read.
type checked struct {
	checkJob
	bad string
	err error
}

// checkAll reads and hashes blocks on all cores and yields the outcomes in no
// order. Jobs that come in the order of their offsets are read like that.
func (d *Disk) checkAll(ctx context.Context, jobs iter.Seq[checkJob]) iter.Seq[checked] {
	return func(yield func(checked) bool) {
		ctx, cancel := context.WithCancel(ctx)
		todo, done := make(chan checkJob), make(chan checked)
		var wait sync.WaitGroup
		defer wait.Wait()
		defer cancel()
		wait.Go(func() {
			defer close(todo)
			for j := range jobs {
				select {
				case todo <- j:
				case <-ctx.Done():
					return
				}
			}
		})
		var workers sync.WaitGroup
		for range runtime.GOMAXPROCS(0) {
			workers.Go(func() {
				buf, _ := d.buffers.Get().(*[]byte) //nolint:errcheck // the pool holds nothing else
				defer d.buffers.Put(buf)
				for j := range todo {
					r := checked{checkJob: j}
					data := (*buf)[:j.at.length]
					r.bad, r.err = d.readExtent(j.hash, j.at, data)
					if j.see != nil && r.bad == "" && r.err == nil {
						j.see(data)
					}
					select {
					case done <- r:
					case <-ctx.Done():
						return
					}
				}
			})
		}
		wait.Go(func() {
			workers.Wait()
			close(done)
		})
		for r := range done {
			if !yield(r) {
				return
			}
		}
	}
}
