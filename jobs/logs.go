package jobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"syscall"
)

// Stream names one of the two outputs of a command.
type Stream string

// Streams that are captured.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// DefaultLogSize is how much of a stream is kept at least, in bytes; at most it
// is twice that.
const DefaultLogSize = 8 << 20

// file is the stream's newest part, older the part before it; both lie beside
// the work directory, where the command does not look.
func (s Stream) file() string  { return string(s) + ".log" }
func (s Stream) older() string { return string(s) + ".log.1" }

// logFile is a captured stream: what was written last is in file, what was
// written before in older, what was before that is gone. Positions count the
// bytes of the stream from its begin. It is safe for concurrent use.
type logFile struct {
	root   *os.Root // the job's own directory; owned
	stream Stream
	most   int64 // bytes of one file
	log    *slog.Logger

	mu     sync.Mutex
	users  int      // whoever closes it; the last one closes root
	file   *os.File // nil: only read
	begin  int64    // position of the first byte of older, or of file without one
	middle int64    // position of the first byte of file
	end    int64
	lost   bool          // something could not be written
	grown  chan struct{} // closed, and replaced, when something happens
	done   bool          // nothing comes any more
}

// openLog opens a stream in a job's directory. To write is to begin it anew.
func openLog(dir string, stream Stream, most int64, write bool, log *slog.Logger) (*logFile, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	l := &logFile{root: root, stream: stream, most: most, log: log, users: 1, grown: make(chan struct{}), done: !write}
	if write {
		err = l.restart()
	} else {
		err = l.measure()
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return l, nil
}

// restart makes an empty file.
func (l *logFile) restart() (err error) {
	if err := l.root.Remove(l.stream.older()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	l.file, err = l.create()
	return err
}

// create makes the file of the stream in the place of whatever was there.
func (l *logFile) create() (*os.File, error) {
	if err := l.root.Remove(l.stream.file()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return l.root.OpenFile(l.stream.file(), os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
}

// measure looks how much there is of a stream that nobody writes.
func (l *logFile) measure() error {
	sizes := [2]int64{}
	for i, name := range []string{l.stream.older(), l.stream.file()} {
		info, err := l.root.Lstat(name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err == nil {
			sizes[i] = info.Size()
		}
	}
	l.middle = sizes[0]
	l.end = sizes[0] + sizes[1]
	return nil
}

// Write appends to the stream. It never fails: a full disk must not end the
// command, so what can't be written is lost, which is logged once.
func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for rest := b; len(rest) > 0 && l.file != nil; {
		if l.end-l.middle >= l.most {
			if err := l.rotate(); err != nil {
				l.lose(err)
				break
			}
		}
		n, err := l.file.Write(rest[:min(int64(len(rest)), l.most-(l.end-l.middle))])
		l.end += int64(n)
		if rest = rest[n:]; err != nil {
			l.lose(err)
			break
		}
	}
	l.wake()
	return len(b), nil
}

// rotate makes the file the older one and begins a new one; l.mu is held.
func (l *logFile) rotate() error {
	if err := l.root.Rename(l.stream.file(), l.stream.older()); err != nil {
		return err
	}
	next, err := l.create()
	if err != nil {
		return errors.Join(err, l.root.Rename(l.stream.older(), l.stream.file()))
	}
	old := l.file
	l.file, l.begin, l.middle = next, l.middle, l.end
	return old.Close()
}

// lose notes that the log has a gap; l.mu is held.
func (l *logFile) lose(err error) {
	if !l.lost {
		l.lost = true
		l.log.Warn("output of a job is lost", slog.String("stream", string(l.stream)), slog.Any("err", err))
	}
}

// wake tells those who follow; l.mu is held.
func (l *logFile) wake() {
	close(l.grown)
	l.grown = make(chan struct{})
}

// finish ends the stream: nothing comes any more. It can still be read.
func (l *logFile) finish() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done = true
	l.wake()
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}

// retain makes one more that has to close the log.
func (l *logFile) retain() *logFile {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.users++
	return l
}

// close is called once by everybody who has the log.
func (l *logFile) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.users--; l.users > 0 {
		return nil
	}
	return l.root.Close()
}

// read reads what there is from position at, or from the oldest position that
// is left, and returns the position after it. more is closed when there may be
// more; nil means that nothing comes any more.
func (l *logFile) read(at int64, b []byte) (n int, next int64, more <-chan struct{}, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at = max(at, l.begin)
	more = l.grown
	if at >= l.end {
		if l.done {
			more = nil
		}
		return 0, at, more, nil
	}
	name, off, left := l.stream.file(), at-l.middle, l.end-at
	if at < l.middle {
		name, off, left = l.stream.older(), at-l.begin, l.middle-at
	}
	f, err := l.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // whatever it is, it is not waited for
	if err != nil {
		return 0, at, nil, err
	}
	n, err = f.ReadAt(b[:min(int64(len(b)), left)], off)
	if errors.Is(err, io.EOF) {
		err = nil
		if n == 0 {
			err = fmt.Errorf("%s is shorter than it was", name)
		}
	}
	return n, at + int64(n), more, errors.Join(err, f.Close())
}

// copyTo writes the stream to w until nothing comes any more or, unless follow,
// until nothing is there.
func (l *logFile) copyTo(ctx context.Context, w io.Writer, follow bool) error {
	buf := make([]byte, 64<<10)
	for at := int64(0); ; {
		n, next, more, err := l.read(at, buf)
		if err != nil {
			return err
		}
		at = next
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				return err
			}
			continue
		}
		if !follow || more == nil {
			return nil
		}
		if err := flush(w); err != nil {
			return err
		}
		select {
		case <-more:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// flush sends what a writer holds back, if it is one that does.
func flush(w io.Writer) error {
	if f, ok := w.(interface{ FlushError() error }); ok {
		return f.FlushError()
	}
	return nil
}
