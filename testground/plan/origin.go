package plan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/testground/sdk-go/sync"

	"github.com/hypha-node/hypha-node/testground/cases"
)

// What the origin and the nodes tell each other over the sync service.
const (
	topicOrigin = "origin"                    // its URL
	stateOver   = "done with origin"          // of each node
	pathContent = "/content"                  // of the URL
	pathSent    = "/sent"                     // bytes on the wire, in decimal
	maxSent     = len("-9223372036854775808") // bytes of an answer of it
)

// serveOrigin plays the web server that has the content of a case, until all nodes are
// done with it.
func (w *world) serveOrigin(ctx context.Context, c cases.Case, at place) error {
	content, err := io.ReadAll(cases.Noise(c.Size))
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(at.ip, "0"))
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathContent, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"1"`)
		http.ServeContent(w, r, "content", time.Time{}, bytes.NewReader(content))
	})
	mux.HandleFunc("GET "+pathSent, func(w http.ResponseWriter, _ *http.Request) {
		sent, _, err := at.wire.moved()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = io.WriteString(w, strconv.FormatInt(sent, 10)) //nolint:errcheck // who asked counts the bytes
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	err = w.untilOver(ctx, "http://"+l.Addr().String()+pathContent)
	err = errors.Join(err, server.Close())
	if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// untilOver tells all nodes the URL and waits for them to be done.
func (w *world) untilOver(ctx context.Context, url string) error {
	if _, err := w.sync.Publish(ctx, originTopic(), &shared{Index: w.index, Value: []byte(url)}); err != nil {
		return err
	}
	over, err := w.sync.Barrier(ctx, stateOver, w.count)
	if err != nil {
		return err
	}
	return <-over.C
}

// findOrigin waits for the origin's URL.
func (w *world) findOrigin(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ch := make(chan *shared, 1)
	sub, err := w.sync.Subscribe(ctx, originTopic(), ch)
	if err != nil {
		return err
	}
	select {
	case one := <-ch:
		w.origin = string(one.Value)
		return nil
	case err := <-sub.Done():
		return errors.Join(err, errEnded)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// leaveOrigin lets the origin end, whatever has become of the case.
func (w *world) leaveOrigin() error {
	_, err := w.sync.SignalEntry(context.Background(), stateOver)
	return err
}

// originTopic is what the URL is told on.
func originTopic() *sync.Topic { return sync.NewTopic(topicOrigin, &shared{}) }

// Origin implements cases.World.
func (w *world) Origin(ctx context.Context) (url string, sent int64, err error) {
	if w.origin == "" {
		return "", 0, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(w.origin, pathContent)+pathSent, nil)
	if err != nil {
		return "", 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, int64(maxSent)))
	if err != nil {
		return "", 0, err
	}
	if resp.StatusCode != http.StatusOK {
		return "", 0, fmt.Errorf("%s: %s", resp.Status, text)
	}
	sent, err = strconv.ParseInt(string(text), 10, 64)
	return w.origin, sent, err
}
