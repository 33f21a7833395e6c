package rest

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/hypha-node/hypha-node/bridge"
)

// fetch is POST /resources/fetch.
func (h *Handler) fetch(w http.ResponseWriter, r *http.Request) error {
	body, err := h.readBody(w, r)
	if err != nil {
		return err
	}
	c, err := parseFetch(body)
	if err != nil {
		return err
	}
	return h.watched(w, r, c.progress, func(ctx context.Context, progress func(bridge.Transfer)) (any, error) {
		c.Progress = progress
		return h.res.Fetch(ctx, c.FetchRequest)
	})
}

// send is POST /resources/send.
func (h *Handler) send(w http.ResponseWriter, r *http.Request) error {
	body, err := h.readBody(w, r)
	if err != nil {
		return err
	}
	c, err := parseSend(body, time.Now())
	if err != nil {
		return err
	}
	if c.Key, err = idempotencyKey(r.Header, c.Key); err != nil {
		return err
	}
	if c.now {
		id, err := h.res.SendLater(context.WithoutCancel(r.Context()), c.SendRequest)
		return h.accepted(w, id, err)
	}
	return h.watched(w, r, c.progress, func(ctx context.Context, progress func(bridge.Transfer)) (any, error) {
		c.Progress = progress
		return h.res.Send(ctx, c.SendRequest)
	})
}

// accepted answers that work goes on without the client.
func (h *Handler) accepted(w http.ResponseWriter, id string, err error) error {
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/transfers/"+id)
	return h.reply(w, http.StatusAccepted, map[string]string{"transfer_id": id})
}

// watched answers what work returns: as JSON, or, to a client that asks for
// progress and takes events, as events of the names progress, and at the end
// result or error.
func (h *Handler) watched(w http.ResponseWriter, r *http.Request, asked bool,
	work func(ctx context.Context, progress func(bridge.Transfer)) (any, error),
) error {
	if !accepts(r.Header, eventStream) || !asked && !queryAsks(r) {
		v, err := work(r.Context(), nil)
		if err != nil {
			return err
		}
		return h.reply(w, http.StatusOK, v)
	}
	e := h.events(r.Context(), w)
	defer e.end()
	v, err := work(r.Context(), e.progress)
	e.quiet()
	if err != nil && !e.started() {
		return err // with its own status
	}
	if err := e.tell(); err != nil {
		return err
	}
	if err != nil {
		return h.failEvent(e, r, err)
	}
	return e.named("result", v)
}

// queryAsks tells whether the URL asks for progress.
func queryAsks(r *http.Request) bool {
	q := r.URL.Query()
	switch q.Get("progress") {
	case "0", "false":
		return false
	}
	return q.Has("progress")
}

// failEvent tells an error in a stream that has begun.
func (h *Handler) failEvent(e *events, r *http.Request, err error) error {
	v := h.judge(r, err)
	if v == nil {
		return nil
	}
	return e.named("error", v.problem)
}

// receive is POST /resources/receive.
func (h *Handler) receive(w http.ResponseWriter, r *http.Request) error {
	body, err := h.readBody(w, r)
	if err != nil {
		return err
	}
	c, err := parseReceive(body, r.Header, time.Now())
	if err != nil {
		return err
	}
	if c.Since, err = lastEvent(r.Header, c.Since); err != nil {
		return err
	}
	if c.stream {
		return h.receiveStream(w, r, c)
	}
	return h.receiveOne(w, r, c.ReceiveRequest)
}

// receiveOne answers one object, or 204 when there is none in time or the job
// ends.
func (h *Handler) receiveOne(w http.ResponseWriter, r *http.Request, req bridge.ReceiveRequest) error {
	passed := false // when it is not, the item goes back
	req.Taken = func() bool { return passed }
	for item, err := range h.res.Receive(r.Context(), req) {
		if err != nil {
			if ended(r.Context(), err) {
				break
			}
			return err
		}
		err = h.reply(w, http.StatusOK, item)
		if err == nil {
			err = sent(http.NewResponseController(w).Flush())
		}
		passed = err == nil
		return err
	}
	if r.Context().Err() != nil && !errors.Is(context.Cause(r.Context()), bridge.ErrClosed) {
		return errGone
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// ended tells whether err is the job's end and no failure.
func ended(ctx context.Context, err error) bool {
	return errors.Is(err, bridge.ErrClosed) || errors.Is(context.Cause(ctx), bridge.ErrClosed)
}

// receiveStream answers an event for each file until the client goes or the job
// ends. The headers go out when the request waits in line.
func (h *Handler) receiveStream(w http.ResponseWriter, r *http.Request, c receiveCall) error {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	e := h.events(r.Context(), w)
	defer e.end()
	c.Ready = func() {
		if err := e.begin(); err != nil {
			cancel(err)
		}
	}
	if c.progress {
		defer h.inbound(ctx, e)()
	}
	passed := false // when it is not, the item goes back
	c.Taken = func() bool { return passed }
	for item, err := range h.res.Receive(ctx, c.ReceiveRequest) {
		switch {
		case err != nil && !e.started():
			return err // with its own status
		case err != nil && (ended(r.Context(), err) || ctx.Err() != nil):
			return nil
		case err != nil && c.progress:
			return h.failEvent(e, r, err)
		case err != nil: // an event would be taken for a file
			if v := h.judge(r, err); v != nil {
				return e.comment(v.problem.Error)
			}
			return nil
		}
		err = e.item(item.Sequence, item)
		if passed = err == nil; !passed {
			return err
		}
	}
	return e.begin()
}

// inboundEvery is between two looks at what comes in, for a client that wants to
// see it.
const inboundEvery = 500 * time.Millisecond

// inbound tells progress of the files that are on their way to the job, until
// the function that it returns is called.
func (h *Handler) inbound(ctx context.Context, e *events) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wait sync.WaitGroup
	wait.Go(func() {
		told := map[string]int64{} // transfer => bytes
		for ctx.Err() == nil {
			if e.started() && h.tellInbound(e, told) != nil {
				return
			}
			pause(ctx, inboundEvery)
		}
	})
	return func() {
		cancel()
		wait.Wait()
	}
}

// tellInbound tells which of the running receives have moved since told.
func (h *Handler) tellInbound(e *events, told map[string]int64) error {
	seen := map[string]bool{}
	for _, t := range h.res.Transfers() {
		if t.Kind != "receive" || t.State != "running" {
			continue
		}
		seen[t.ID] = true
		if done, ok := told[t.ID]; ok && done == t.Done {
			continue
		}
		told[t.ID] = t.Done
		if err := e.named("progress", t); err != nil {
			return err
		}
	}
	maps.DeleteFunc(told, func(id string, _ int64) bool { return !seen[id] })
	return nil
}

// put is POST /resources/put.
func (h *Handler) put(w http.ResponseWriter, r *http.Request) error {
	body, err := h.readBody(w, r)
	if err != nil {
		return err
	}
	req, err := parsePut(body)
	if err != nil {
		return err
	}
	published, err := h.res.Put(r.Context(), req)
	if err != nil {
		return err
	}
	return h.reply(w, http.StatusOK, published)
}

// prefetch is POST /resources/prefetch.
func (h *Handler) prefetch(w http.ResponseWriter, r *http.Request) error {
	body, err := h.readBody(w, r)
	if err != nil {
		return err
	}
	c, err := parsePrefetch(body)
	if err != nil {
		return err
	}
	id, err := h.res.Prefetch(context.WithoutCancel(r.Context()), c.FetchRequest)
	return h.accepted(w, id, err)
}
