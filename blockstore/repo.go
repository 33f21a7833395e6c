package blockstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/hypha-node/hypha-node/blockstore/internal/vfs"
	"github.com/hypha-node/hypha-node/internal/diskspace"
)

// Names inside a repository.
const (
	indexDir    = "index"
	newIndexDir = "index.new"     // while it is built again
	oldIndexDir = "index.damaged" // what it replaced, kept until the next time
	damageFile  = "index.bad"     // tells the next Open that the index is damaged
	ballastFile = "ballast"
	segmentsDir = "segments"
	lockFile    = "lock"
	versionFile = "version"
)

// Open opens the repository dir and makes it if need be, with everything in it
// private (0700 and 0600). A damaged index is built again from the segments. It
// fails with ErrInUse while another process has the repository, and with
// ErrVersion when a newer program wrote it.
func Open(ctx context.Context, dir string, o Options) (*Disk, error) {
	if o.StorageMax > 0 && o.Links == nil {
		return nil, errors.New("a storage maximum without Links")
	}
	r, err := openRepo(ctx, dir, o)
	if err != nil {
		return nil, err
	}
	d, err := openDisk(ctx, dir, r.environment(), o)
	if err != nil {
		return nil, fmt.Errorf("repository %s: %w", dir, err)
	}
	return d, nil
}

// repo is a locked repository of the version that this program writes.
type repo struct {
	dir  string
	o    Options
	lock *os.File
	fs   *vfs.OS

	ballast *ballast
}

func openRepo(ctx context.Context, dir string, o Options) (_ *repo, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	r := &repo{dir: dir, o: o, ballast: openBallast(filepath.Join(dir, ballastFile))}
	if r.lock, err = lockRepo(dir, o.Holder); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.close())
		}
	}()
	if err := bringUpToDate(dir, o.logger()); err != nil {
		return nil, err
	}
	for _, sub := range []string{indexDir, segmentsDir} {
		err := os.Mkdir(filepath.Join(dir, sub), 0o700)
		if err != nil && !errors.Is(err, os.ErrExist) {
			return nil, err
		}
	}
	if err := vfs.SyncDir(dir); err != nil {
		return nil, err
	}
	if r.fs, err = vfs.OpenOS(filepath.Join(dir, segmentsDir)); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *repo) environment() environment {
	return environment{fs: r.fs, openIndex: r.openIndex, rebuild: r.rebuildIndex, release: r.close, ballast: r.ballast}
}

func (r *repo) path(name string) string { return filepath.Join(r.dir, name) }

// openIndex opens the database.
func (r *repo) openIndex(context.Context) (index, error) {
	if _, err := os.Stat(r.path(damageFile)); err == nil {
		return nil, fmt.Errorf("%w, as seen when it was last open", errIndexDamaged)
	}
	low, err := r.makeRoom()
	if err != nil {
		return nil, err
	}
	return openBadger(r.path(indexDir), badgerConfig{mark: r.path(damageFile), low: low, ballast: r.ballast, log: r.o.logger()})
}

// makeRoom drops the ballast if the disk is low, and refuses to let Badger die on
// a disk where even that is not enough.
func (r *repo) makeRoom() (low bool, err error) {
	room, err := r.fs.Space()
	if errors.Is(err, errors.ErrUnsupported) {
		return false, nil
	}
	if err != nil || room.Free >= leastReserve {
		return false, err
	}
	if err := r.ballast.drop(); err != nil {
		return true, err
	}
	if room, err = r.fs.Space(); err != nil {
		return true, err
	}
	need := int64(512 << 10)
	logs, err := filepath.Glob(filepath.Join(r.path(indexDir), "*.mem"))
	if err != nil {
		return true, err
	}
	for _, name := range logs { // each may become a table
		if info, err := os.Stat(name); err == nil {
			need += min(diskspace.Allocated(info), memTable*2)
		}
	}
	if room.Free < need {
		return true, fmt.Errorf("%s: the index needs %d bytes to open, %d are free: %w", r.dir, need, room.Free, ErrNoSpace)
	}
	return true, nil
}

// rebuildIndex builds the database again and opens it.
func (r *repo) rebuildIndex(ctx context.Context) (index, error) {
	if _, err := r.rebuild(ctx, nil); err != nil {
		return nil, err
	}
	return r.openIndex(ctx)
}

// rebuild fills a new database beside the old one, of which it keeps what old
// still has to tell (nil: nothing), and lets it take the old one's place.
func (r *repo) rebuild(ctx context.Context, old index) (RebuildReport, error) {
	fresh := r.path(newIndexDir)
	if err := os.RemoveAll(fresh); err != nil {
		return RebuildReport{}, err
	}
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return RebuildReport{}, noSpace(err)
	}
	idx, err := openBadger(fresh, badgerConfig{log: r.o.logger()})
	if err != nil {
		return RebuildReport{}, err
	}
	d := newDisk(r.dir, r.fs, r.o)
	d.index = idx
	report, err := rebuildIndex(ctx, d)
	if err == nil {
		report.Lost, err = salvage(idx, old)
	}
	d.segs.close()
	if err = errors.Join(err, idx.close()); err != nil {
		return report, err
	}
	if old != nil {
		if err := old.close(); err != nil {
			r.o.logger().Warn("close the old index", errorAttr(err))
		}
	}
	return report, r.replaceIndex()
}

// replaceIndex moves the new database to its place. If it is cut short, the next
// Open finds no index, or one that was never told of the segments, and begins anew.
func (r *repo) replaceIndex() error {
	err := os.RemoveAll(r.path(oldIndexDir))
	if err == nil {
		err = os.Rename(r.path(indexDir), r.path(oldIndexDir))
	}
	if err == nil || errors.Is(err, os.ErrNotExist) {
		err = os.Rename(r.path(newIndexDir), r.path(indexDir))
	}
	if err == nil {
		err = vfs.SyncDir(r.dir)
	}
	if err != nil {
		return err
	}
	if err := os.Remove(r.path(damageFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// salvage copies what no segment knows from the old index to the new one, and
// returns what is lost.
func salvage(idx, old index) (lost []string, err error) {
	if old == nil {
		return []string{"records of jobs and of the inbox", "records of the DHT", "the latest changes of pins"}, nil
	}
	for kind, what := range map[byte]string{keyRecord: "records of jobs and of the inbox", keyDatastore: "records of the DHT", keyPin: "the latest changes of pins"} {
		var ops []indexOp
		var werr error
		err := old.scan([]byte{kind}, nil, func(k, v []byte) bool {
			ops = append(ops, indexOp{bytes.Clone(k), append([]byte{}, v...)})
			if len(ops) == pageKeys {
				werr = idx.write(ops)
				ops = ops[:0]
			}
			return werr == nil
		})
		if werr == nil {
			werr = idx.write(ops)
		}
		if werr != nil {
			return nil, werr
		}
		if err != nil {
			lost = append(lost, what)
		}
	}
	slices.Sort(lost)
	return lost, nil
}

// Rebuild builds the index of a repository again, from the segments alone, while
// no other process has it open. Every block that was acknowledged is found again,
// and every file and alias whose blocks are good; what no pin covers is pinned
// under the name "rebuilt". Where the old index can be read, what only it knew is
// taken over; RebuildReport.Lost names what is lost.
func Rebuild(ctx context.Context, dir string, o Options) (RebuildReport, error) {
	r, err := openRepo(ctx, dir, o)
	if err != nil {
		return RebuildReport{}, err
	}
	old, err := r.openIndex(ctx)
	if err != nil && !isDamaged(err) {
		return RebuildReport{}, errors.Join(err, r.close())
	}
	if err != nil {
		old = nil
	}
	report, err := r.rebuild(ctx, old)
	if err = errors.Join(err, r.close()); err != nil {
		return report, fmt.Errorf("rebuild %s: %w", dir, err)
	}
	return report, nil
}

// close gives the repository free.
func (r *repo) close() error {
	var err error
	if r.fs != nil {
		err = r.fs.Close()
	}
	return errors.Join(err, unlockRepo(r.lock))
}
