package watchdog

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const limit = 15 * time.Second

// after waits within a synctest bubble, where time is not real.
func after(d time.Duration) { <-time.After(d) }

func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dst := io.Pipe()
		r := New(src, limit, 1)
		go func() {
			_, _ = dst.Write([]byte("abc"))
		}()
		p := make([]byte, 10)
		if n, err := r.Read(p); n != 3 || err != nil {
			t.Fatalf("read gives %d, %v", n, err)
		}
		begin := time.Now()
		n, err := r.Read(p)
		if n != 0 || !errors.Is(err, ErrStalled) {
			t.Errorf("read gives %d, %v, want %v", n, err, ErrStalled)
		}
		if took := time.Since(begin); took != limit {
			t.Errorf("the stall took %v, want %v", took, limit)
		}
		if _, err := r.Read(p); !errors.Is(err, ErrStalled) {
			t.Errorf("the next read gives %v, want %v", err, ErrStalled)
		}
		if _, err := dst.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the source was not closed: %v", err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestSlowIsNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dst := io.Pipe()
		r := New(src, limit, 1)
		go func() {
			for range 20 {
				after(limit - time.Nanosecond)
				_, _ = dst.Write([]byte("x"))
			}
			_ = dst.Close()
		}()
		got, err := io.ReadAll(r)
		if len(got) != 20 || err != nil {
			t.Errorf("read gives %d bytes, %v", len(got), err)
		}
	})
}

// TestDrip: what comes in drops has to be so many bytes in the limit.
func TestDrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, dst := io.Pipe()
		r := New(src, limit, 100)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for _, n := range []int{50, 50, 1, 98, 1} {
				after(limit/2 - time.Nanosecond)
				_, _ = dst.Write(make([]byte, n))
			}
		}()
		begin := time.Now()
		got, err := io.ReadAll(r)
		if len(got) != 199 || !errors.Is(err, ErrStalled) || !strings.Contains(err.Error(), "100 bytes") {
			t.Errorf("read gives %d bytes, %v", len(got), err)
		}
		if took, want := time.Since(begin), 2*limit-2*time.Nanosecond; took != want {
			t.Errorf("it took %v, want %v", took, want)
		}
		<-done
	})
}

// TestSlowReader: the time in which nobody reads does not count.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(io.NopCloser(bytes.NewReader([]byte("abc"))), limit, 1)
		for range 3 {
			after(10 * limit)
			if n, err := r.Read(make([]byte, 1)); n != 1 || err != nil {
				t.Fatalf("read gives %d, %v", n, err)
			}
		}
		if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("error is %v, want EOF", err)
		}
	})
}

func TestCloseEndsARead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, _ := io.Pipe()
		r := New(src, limit, 1)
		result := make(chan error)
		go func() {
			_, err := r.Read(make([]byte, 1))
			result <- err
		}()
		synctest.Wait()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if err := <-result; !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("error is %v, want %v", err, io.ErrClosedPipe)
		}
	})
}

// lastGasp gives a byte, or an error, at the moment it is closed.
type lastGasp struct {
	closed chan struct{}
	n      int
	err    error
}

func (l *lastGasp) Read([]byte) (int, error) { <-l.closed; return l.n, l.err }
func (l *lastGasp) Close() error             { close(l.closed); return nil }

func TestLastGasp(t *testing.T) {
	other := errors.New("other")
	tests := []struct {
		name string
		n    int
		err  error
		want error
	}{
		{"nothing", 0, other, ErrStalled},
		{"a byte", 1, nil, nil},
		{"a byte and an error", 1, other, ErrStalled},
		{"the end", 1, io.EOF, io.EOF},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := New(&lastGasp{closed: make(chan struct{}), n: tt.n, err: tt.err}, limit, 1)
				n, err := r.Read(make([]byte, 1))
				if n != tt.n || !errors.Is(err, tt.want) {
					t.Errorf("read gives %d, %v, want %d, %v", n, err, tt.n, tt.want)
				}
				if _, err := r.Read(make([]byte, 1)); !errors.Is(err, ErrStalled) {
					t.Errorf("the next read gives %v, want %v", err, ErrStalled)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func BenchmarkRead(b *testing.B) {
	r := New(io.NopCloser(endless{}), limit, 1)
	p := make([]byte, 1)
	for b.Loop() {
		if _, err := r.Read(p); err != nil {
			b.Fatal(err)
		}
	}
}

// endless is always ready.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// slowClose takes its time to close.
type slowClose struct {
	lastGasp
	done bool
}

func (s *slowClose) Close() error {
	close(s.closed)
	after(time.Second)
	s.done = true
	return nil
}

// TestCloseOutlivesNoRead: when a Read returns, nothing of the watchdog runs on.
func TestCloseOutlivesNoRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &slowClose{lastGasp: lastGasp{closed: make(chan struct{}), err: io.ErrClosedPipe}}
		if _, err := New(src, limit, 1).Read(make([]byte, 1)); !errors.Is(err, ErrStalled) {
			t.Errorf("error is %v, want %v", err, ErrStalled)
		}
		if !src.done {
			t.Error("the source is still being closed")
		}
	})
}
