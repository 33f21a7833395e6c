package xet

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strings"
	"testing"
)

// store is a storage with one xorb of chunks that are all of the largest size.
type store struct {
	data   []byte
	starts []int64
	asked  []string // ranges
}

// newStore returns a xorb of n chunks in a scheme.
func newStore(t *testing.T, n int, scheme byte) *store {
	t.Helper()
	s := &store{}
	for i := range n {
		s.starts = append(s.starts, int64(len(s.data)))
		s.data = append(s.data, pack(t, scheme, bytes.Repeat([]byte{byte(i)}, maxChunk))...)
	}
	s.starts = append(s.starts, int64(len(s.data)))
	return s
}

// packed returns where chunks are.
func (s *store) packed(start, end int64) packed {
	return packed{span{start, end}, span{s.starts[start], s.starts[end]}}
}

// get answers a request for ranges.
func (s *store) get(_, ranges string) (*http.Response, error) {
	s.asked = append(s.asked, ranges)
	resp := &http.Response{Header: http.Header{}}
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	resp.Header.Set("Content-Type", "multipart/byteranges; boundary="+w.Boundary())
	all := strings.Split(strings.TrimPrefix(ranges, "bytes="), ",")
	for _, r := range all {
		var first, last int64
		if _, err := fmt.Sscanf(r, "%d-%d", &first, &last); err != nil {
			return nil, err
		}
		told := fmt.Sprintf("bytes %s/%d", r, len(s.data))
		if len(all) == 1 {
			resp.Header = http.Header{"Content-Range": {told}}
			resp.Body = io.NopCloser(bytes.NewReader(s.data[first : last+1]))
			return resp, nil
		}
		part, err := w.CreatePart(textproto.MIMEHeader{"Content-Range": {told}})
		if err == nil {
			_, err = part.Write(s.data[first : last+1])
		}
		if err != nil {
			return nil, err
		}
	}
	resp.Body = io.NopCloser(&body)
	return resp, w.Close()
}

// read reads n bytes of a plan.
func (s *store) read(t *testing.T, p *plan, n int64) ([]byte, error) {
	t.Helper()
	c := &Client{}
	b := newBody(t.Context(), &file{client: c}, 0, n)
	b.ask = func(int64, int64) (*plan, error) { return p, nil }
	b.get = s.get
	err := b.begin()
	var got []byte
	if err == nil {
		got, err = io.ReadAll(b)
	}
	return got, errors.Join(err, b.Close())
}

// swapped is a plan of two runs of chunks, the later one first.
func swapped(s *store, n int64) *plan {
	return &plan{
		xorbs: map[string][]fetch{x1: {{url: "https://cdn.example/x", ranges: []packed{s.packed(0, n), s.packed(n+1, 2*n+1)}}}},
		last:  map[string]int{x1: 1},
		terms: []term{{x1, span{n + 1, 2*n + 1}, n * maxChunk}, {x1, span{0, n}, n * maxChunk}},
	}
}

// TestRangesAtOnce: several ranges come in one request if they can be kept, and
// else one by one.
func TestRangesAtOnce(t *testing.T) {
	for _, tt := range []struct {
		name     string
		chunks   int64 // of each range
		scheme   byte
		requests int
		at       int // of them for all ranges
	}{
		{"small", 10, schemeNone, 1, 1},
		{"too large", 70, schemeNone, 2, 0},
		{"too large when decoded", 70, schemeLZ4, 3, 1},
	} {
		s := newStore(t, int(2*tt.chunks+1), tt.scheme)
		size := 2 * tt.chunks * maxChunk
		got, err := s.read(t, swapped(s, tt.chunks), size)
		if err != nil || int64(len(got)) != size || got[0] != byte(tt.chunks+1) || got[size-1] != byte(tt.chunks-1) || got[size/2] != 0 {
			t.Errorf("%s: %d bytes, %v", tt.name, len(got), err)
		}
		at := 0
		for _, r := range s.asked {
			at += min(1, strings.Count(r, ","))
		}
		if len(s.asked) != tt.requests || at != tt.at {
			t.Errorf("%s: asked for %q", tt.name, s.asked)
		}
	}
}

// TestBodyLies: what a plan and the xorbs say must agree.
func TestBodyLies(t *testing.T) {
	s := newStore(t, 12, schemeNone)
	for name, change := range map[string]func(p *plan){
		"a term is shorter":       func(p *plan) { p.terms[0].size-- },
		"a term is longer":        func(p *plan) { p.terms[0].size++ },
		"bytes of other chunks":   func(p *plan) { p.xorbs[x1][0].ranges[0].bytes.start += 9 },
		"fewer bytes than chunks": func(p *plan) { p.xorbs[x1][0].ranges[1].bytes.end -= maxChunk },
		"more bytes than chunks":  func(p *plan) { p.xorbs[x1][0].ranges[1].chunks.end--; p.terms[0].chunks.end-- },
		"one range, other chunks": func(p *plan) {
			f := &p.xorbs[x1][0]
			f.ranges = f.ranges[1:]
			f.ranges[0].bytes.start++
			p.terms = p.terms[:1]
		},
		"one range, a shorter term": func(p *plan) { f := &p.xorbs[x1][0]; f.ranges = f.ranges[1:]; p.terms[0].size--; p.terms = p.terms[:1] },
	} {
		p := swapped(s, 5)
		change(p)
		got, err := s.read(t, p, 10*maxChunk)
		if err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

// TestWaste: what has to be thrown away is bounded, whatever a plan says.
func TestWaste(t *testing.T) {
	s := newStore(t, 500, schemeLZ4)
	p := &plan{xorbs: map[string][]fetch{x1: {{url: "https://cdn.example/x", ranges: []packed{s.packed(0, 500)}}}}, last: map[string]int{x1: 99}}
	for range 100 { // always the last chunk
		p.terms = append(p.terms, term{x1, span{499, 500}, maxChunk})
	}
	got, err := s.read(t, p, 100*maxChunk)
	if !errors.Is(err, errPlan) || len(s.asked) > 4 {
		t.Errorf("%d bytes, %d requests, %v", len(got), len(s.asked), err)
	}
}
