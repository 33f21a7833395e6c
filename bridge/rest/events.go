package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hypha-node/hypha-node/bridge"
)

// eventStream is the media type of server-sent events
// (html.spec.whatwg.org/multipage/server-sent-events.html).
const eventStream = "text/event-stream"

const (
	// progressPause is between two progress events of one answer: enough for a
	// bar that moves, little beside the transfer.
	progressPause = 100 * time.Millisecond
	// lastWords is what a client has to take what is being written when the job ends.
	lastWords = time.Second
	// farewell is what it has to take the end of the stream: a few bytes, for which
	// a busy machine may need its time.
	farewell = 3 * time.Second
)

// events is an answer of server-sent events. It is safe for concurrent use.
//
// Executors open a stream, compute for a long time, and read then: that a client
// reads nothing is no error until EventTimeout. That it is gone ends ctx, and
// every write with it.
type events struct {
	w    http.ResponseWriter
	ctl  *http.ResponseController
	conf Config

	ending atomic.Bool // ctx has ended: writes have lastWords
	quiet  func()      // ends beat and waits for it
	unhook func()      // after it, hurry is not called any more

	mu     sync.Mutex
	begun  bool
	broken error // of the first write that failed; nothing can be said after it

	latest atomic.Pointer[bridge.Transfer] // progress that was not told yet
	fresh  chan struct{}                   // has an element when latest was set
}

// events returns a stream that begins with its first event, or with begin. The
// caller calls end.
func (h *Handler) events(ctx context.Context, w http.ResponseWriter) *events {
	e := &events{w: w, ctl: http.NewResponseController(w), conf: h.conf, fresh: make(chan struct{}, 1)}
	beating, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	wait.Go(func() { e.beat(beating) })
	e.quiet = sync.OnceFunc(func() {
		cancel()
		wait.Wait()
	})
	hurried := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		defer close(hurried)
		e.hurry()
	})
	e.unhook = func() {
		if !unhook() {
			<-hurried
		}
	}
	return e
}

// begin sends the headers: from here on the status is 200.
func (e *events) begin() error { return e.write(nil) }

// item sends an event without a name. Its data is one line.
func (e *events) item(id int64, v any) error {
	return e.event("id: "+strconv.FormatInt(id, 10)+"\n", v)
}

// named sends an event with a name.
func (e *events) named(name string, v any) error {
	return e.event("event: "+name+"\n", v)
}

// event sends an event with a line before its data.
func (e *events) event(line string, v any) error {
	b := bytes.NewBufferString(line)
	b.WriteString("data: ")
	enc := json.NewEncoder(b) // writes one line: control characters are escaped
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	b.WriteByte('\n')
	return e.write(b.Bytes())
}

// comment sends a line that no client takes for an event.
func (e *events) comment(text string) error { return e.write([]byte(": " + text + "\n\n")) }

// progress notes how far a transfer is; it never waits for the client.
func (e *events) progress(t bridge.Transfer) {
	e.latest.Store(&t)
	select {
	case e.fresh <- struct{}{}:
	default:
	}
}

// tell sends the newest progress, if it was not sent yet.
func (e *events) tell() error {
	if t := e.latest.Swap(nil); t != nil {
		return e.named("progress", t)
	}
	return nil
}

// beat tells progress, and that the connection is alive, until ctx ends.
func (e *events) beat(ctx context.Context) {
	alive := time.NewTicker(e.conf.KeepAlive)
	defer alive.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return
		case <-alive.C:
			if e.started() {
				err = e.comment("keepalive")
			}
		case <-e.fresh:
			err = e.tell()
			pause(ctx, progressPause)
		}
		if err != nil { // the writer of the next event meets it as well
			return
		}
	}
}

// pause returns after d, or when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// started tells whether the headers are out.
func (e *events) started() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.begun
}

// hurry gives a write that is under way, and all that follow, lastWords.
func (e *events) hurry() {
	e.ending.Store(true)
	//nolint:errcheck // the write itself meets a broken connection
	_ = deadline(e.ctl.SetWriteDeadline, lastWords)
}

// write sends p at once, after the headers.
func (e *events) write(p []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.broken != nil {
		return e.broken
	}
	err := deadline(e.ctl.SetWriteDeadline, e.conf.EventTimeout)
	if e.ending.Load() { // asked after the deadline was set: hurry sets a shorter one after this
		err = deadline(e.ctl.SetWriteDeadline, lastWords)
	}
	if !e.begun {
		e.begun = true
		e.w.Header().Set("Content-Type", eventStream)
		e.w.Header().Set("Cache-Control", "no-cache")
		e.w.WriteHeader(http.StatusOK)
	}
	if err == nil && len(p) > 0 {
		_, err = e.w.Write(p)
	}
	if err == nil {
		err = e.ctl.Flush()
	}
	e.broken = sent(err)
	return e.broken
}

// end ends the stream: what was begun is ended properly, so that the client can
// tell it from a failure of the node.
func (e *events) end() {
	e.quiet()
	e.unhook()
	//nolint:errcheck // nothing can be told any more
	_ = deadline(e.ctl.SetWriteDeadline, farewell)
}
