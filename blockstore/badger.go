package blockstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/hypha-node/hypha-node/internal/diskspace"
)

const (
	// memTable is the size of one of Badger's memtables, in bytes. It bounds
	// memory, a transaction (15 % of it) and what Badger must write when it is
	// opened or closed, which has to fit into the ballast.
	memTable = 2 << 20
	// largestValue is the longest value that a transaction takes, in bytes, with
	// room for its key. All values stay in the LSM tree.
	largestValue = memTable/100*15 - maxKey - 1024
	// valueLog is the size of a value-log file, in bytes: the smallest that
	// Badger takes, for no value ever goes there.
	valueLog = 1 << 20
	// discardLag is how many transactions a compaction leaves alone, so that a
	// get which began before them still finds the version that it looks for.
	discardLag = 1000
)

// badgerIndex is the index of a store on a real disk. It runs Badger in managed
// mode, with timestamps of its own: a read then never waits for a write that is
// being synced.
type badgerIndex struct {
	mu   sync.RWMutex // wake holds it while it changes db, reads share it
	db   *badger.DB
	gone error // why there is no database, nil if there is one
	dir  string
	last atomic.Uint64 // timestamp of the last finished write
	seen int64         // modification time of dir when its modes were last put right
	badgerConfig
}

// badgerConfig says how an index is opened.
type badgerConfig struct {
	mark    string   // file to make when the index turns out to be damaged, "" for none
	low     bool     // the disk is nearly full: no compactions until wake
	ballast *ballast // nil for none
	log     *slog.Logger
}

var _ index = (*badgerIndex)(nil)

func badgerOptions(dir string, log *slog.Logger) badger.Options {
	o := badger.DefaultOptions(dir)
	o.Logger = badgerLogger{log}
	o.SyncWrites = true // DB.Sync misses memtables that wait to be flushed
	o.ValueThreshold = memTable / 100 * 14
	o.ValueLogFileSize = valueLog
	o.MemTableSize = memTable
	o.NumMemtables = 2
	o.NumCompactors = 2
	o.NumLevelZeroTables = 4
	o.Compression = options.None // keys are hashes
	o.BlockCacheSize = 0
	o.IndexCacheSize = 0
	o.DetectConflicts = false // one writer
	o.NumVersionsToKeep = 1
	o.ChecksumVerificationMode = options.OnBlockRead // whole tables: checkTables, before they are opened
	o.MetricsEnabled = false
	o.BypassLockGuard = true // the repository has a lock of its own
	return o
}

// openBadger opens the index in dir, which must exist. A second try mends what
// a kill at the wrong moment leaves (badger issue 2207).
func openBadger(dir string, c badgerConfig) (*badgerIndex, error) {
	db, err := tryBadger(dir, c)
	if err != nil && !isMachine(err) {
		c.log.Warn("index does not open, trying once more", slog.Any("error", err))
		db, err = tryBadger(dir, c)
	}
	if isMachine(err) {
		return nil, fmt.Errorf("open index: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open index: %w: %w", errIndexDamaged, err)
	}
	x := &badgerIndex{db: db, dir: dir, badgerConfig: c}
	x.last.Store(db.MaxVersion())
	if err := x.private(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return x, nil
}

// isMachine tells errors of the machine from those of a damaged database.
func isMachine(err error) bool {
	for _, no := range []error{
		fs.ErrPermission, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS, syscall.EIO,
	} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}

func tryBadger(dir string, c badgerConfig) (db *badger.DB, err error) {
	defer guard(&err)
	if err := checkTables(dir); err != nil {
		return nil, err
	}
	o := badgerOptions(dir, c.log)
	if c.low {
		o.NumCompactors = 0
	}
	return badger.OpenManaged(o)
}

func (x *badgerIndex) get(key []byte, fn func([]byte) error) (err error) {
	defer x.note(&err)
	defer guard(&err)
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.gone != nil {
		return x.gone
	}
	txn := x.db.NewTransactionAt(x.last.Load(), false)
	defer txn.Discard()
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return errAbsent
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errIndexDamaged, err)
	}
	return item.Value(fn)
}

// note leaves a mark for the next Open when the index is damaged.
func (x *badgerIndex) note(err *error) {
	if x.mark == "" || !errors.Is(*err, errIndexDamaged) {
		return
	}
	if werr := os.WriteFile(x.mark, []byte((*err).Error()), 0o600); werr != nil {
		*err = errors.Join(*err, werr)
	}
}

// write splits ops where a transaction is full; Badger writes transactions in
// the order in which they are committed, and syncs each.
func (x *badgerIndex) write(ops []indexOp) (err error) {
	defer guard(&err)
	if len(ops) == 0 {
		return nil
	}
	if x.wake(); x.gone != nil {
		return x.gone
	}
	at := x.last.Load()
	done := make(chan error, 64)
	running := 0
	txn := x.db.NewTransactionAt(math.MaxUint64, true)
	commit := func() error {
		at++
		running++
		return txn.CommitAt(at, func(err error) { done <- err })
	}
	for _, op := range ops {
		err = apply(txn, op)
		if errors.Is(err, badger.ErrTxnTooBig) {
			if err = commit(); err != nil {
				running--
				break
			}
			txn = x.db.NewTransactionAt(math.MaxUint64, true)
			err = apply(txn, op)
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		if err = commit(); err != nil {
			running--
		}
	}
	txn.Discard()
	for range running {
		if cerr := <-done; err == nil {
			err = cerr
		}
	}
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	x.last.Store(at)
	if at > discardLag {
		x.db.SetDiscardTs(at - discardLag)
	}
	return x.private()
}

// wake opens a database that was opened on a nearly full disk once more when
// there is room again: without compactions, writes would stop for good after 15
// memtables. While reads run it leaves that to a later write.
func (x *badgerIndex) wake() {
	if !x.low {
		return
	}
	room, err := diskspace.Of(x.dir)
	if err != nil || room.Free < leastReserve || !x.mu.TryLock() {
		return
	}
	defer x.mu.Unlock()
	c := x.badgerConfig
	c.low = false
	err = x.db.Close()
	if err == nil {
		x.db, err = tryBadger(x.dir, c)
	}
	if err != nil {
		x.gone = fmt.Errorf("open index again: %w", err)
		return
	}
	x.badgerConfig = c
}

func apply(txn *badger.Txn, op indexOp) error {
	if op.value == nil {
		return txn.Delete(op.key)
	}
	return txn.Set(op.key, op.value)
}

func (x *badgerIndex) scan(prefix, from []byte, fn func(key, value []byte) bool) (err error) {
	defer x.note(&err)
	defer guard(&err)
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.gone != nil {
		return x.gone
	}
	txn := x.db.NewTransactionAt(x.last.Load(), false)
	defer txn.Discard()
	o := badger.DefaultIteratorOptions
	o.Prefix = prefix
	o.PrefetchValues = false // values lie beside their keys
	it := txn.NewIterator(o)
	defer it.Close()
	if len(from) == 0 {
		from = prefix
	}
	for it.Seek(from); it.ValidForPrefix(prefix); it.Next() {
		item := it.Item()
		more := false
		err := item.Value(func(v []byte) error {
			more = fn(item.Key(), v)
			return nil
		})
		if err != nil {
			return fmt.Errorf("%w: %w", errIndexDamaged, err)
		}
		if !more {
			return nil
		}
	}
	return nil
}

// close flushes the memtable; for that the ballast goes if the disk is low.
func (x *badgerIndex) close() (err error) {
	defer guard(&err)
	if room, err := diskspace.Of(x.dir); err == nil && room.Free < leastReserve {
		if err := x.ballast.drop(); err != nil {
			return err
		}
	}
	if x.gone == nil {
		err = x.db.Close()
	}
	if room, serr := diskspace.Of(x.dir); serr == nil {
		x.ballast.restore(room.Free)
	}
	x.seen = 0
	if perr := x.private(); err == nil {
		err = perr
	}
	return err
}

// private takes the permissions of others from files that Badger made since the
// last call; it makes some with mode 0666 less the umask. Nobody could reach
// them meanwhile: the directory is 0700.
func (x *badgerIndex) private() error {
	info, err := os.Stat(x.dir)
	if err != nil {
		return err
	}
	made := info.ModTime().UnixNano()
	if made == x.seen {
		return nil
	}
	if err := chmodAll(x.dir); err != nil {
		return err
	}
	x.seen = made
	return nil
}

// chmodAll sets every plain file of dir to 0600.
func chmodAll(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && info.Mode().IsRegular() && info.Mode().Perm() != 0o600 {
			err = root.Chmod(e.Name(), 0o600)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err // but files come and go beside us
		}
	}
	return nil
}

// badgerLogger hands what Badger has to say to the store's logger; what it says
// in good times is for debugging.
type badgerLogger struct{ log *slog.Logger }

func (l badgerLogger) Errorf(format string, args ...any)   { l.say(slog.LevelWarn, format, args) }
func (l badgerLogger) Warningf(format string, args ...any) { l.say(slog.LevelInfo, format, args) }
func (l badgerLogger) Infof(format string, args ...any)    { l.say(slog.LevelDebug, format, args) }
func (l badgerLogger) Debugf(format string, args ...any)   { l.say(slog.LevelDebug, format, args) }

func (l badgerLogger) say(level slog.Level, format string, args []any) {
	ctx := context.Background()
	if l.log.Enabled(ctx, level) {
		l.log.LogAttrs(ctx, level, "index", slog.String("says", strings.TrimSpace(fmt.Sprintf(format, args...))))
	}
}
