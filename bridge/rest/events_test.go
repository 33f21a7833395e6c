package rest

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// event is one event or comment of a stream, as a strict reader sees it.
type event struct {
	name, id, data, comment string
}

// readEvents reads all events until the stream ends.
func readEvents(t testing.TB, r *bufio.Reader) []event {
	t.Helper()
	var all []event
	for {
		e, err := readEvent(r)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("after %d events: %v", len(all), err)
		}
		all = append(all, e)
	}
}

// readEvent reads one event or comment. What a stream of ours never has is an error.
func readEvent(r *bufio.Reader) (e event, err error) {
	for lines := 0; ; lines++ {
		line, err := r.ReadString('\n')
		if err != nil {
			if errors.Is(err, io.EOF) && (line != "" || lines > 0) {
				err = io.ErrUnexpectedEOF
			}
			return e, err
		}
		line = strings.TrimSuffix(line, "\n")
		field, value, _ := strings.Cut(line, ": ")
		switch {
		case line == "" && lines == 0:
			return e, errors.New("an empty event")
		case line == "":
			return e, nil
		case field == "" && e.comment == "":
			e.comment = value
		case field == "event" && e.name == "":
			e.name = value
		case field == "id" && e.id == "":
			e.id = value
		case field == "data" && e.data == "":
			e.data = value
		default:
			return e, errors.New("unexpected line " + line)
		}
	}
}

// stream is an answer of events that is being read.
type stream struct {
	t    testing.TB
	resp *http.Response
	r    *bufio.Reader
}

// open posts a body and returns when the headers of a stream have come.
func (s *server) open(path, body string, edit ...func(*http.Request)) *stream {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, "http://bridge"+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for _, f := range edit {
		f(req)
	}
	resp, err := s.client.Do(req) //nolint:bodyclose // stream.close does
	if err != nil {
		s.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != eventStream || resp.Header.Get("Cache-Control") != "no-cache" {
		data, err := io.ReadAll(resp.Body)
		s.t.Fatalf("%s %v: %s, %v", resp.Status, resp.Header, data, err)
	}
	return &stream{t: s.t, resp: resp, r: bufio.NewReader(resp.Body)}
}

// next reads the next event, comments left out.
func (s *stream) next() event {
	s.t.Helper()
	for {
		e, err := readEvent(s.r)
		if err != nil {
			s.t.Fatal(err)
		}
		if e.comment == "" {
			return e
		}
	}
}

// end reads until the stream ends and returns what came, comments left out.
func (s *stream) end() []event {
	s.t.Helper()
	defer s.close()
	var events []event
	for _, e := range readEvents(s.t, s.r) {
		if e.comment == "" {
			events = append(events, e)
		}
	}
	return events
}

// close goes away.
func (s *stream) close() { s.resp.Body.Close() }
