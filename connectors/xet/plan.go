package xet

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Bounds of what is believed to be a reconstruction.
const (
	maxAnswer = 32 << 20 // bytes of JSON
	maxTerms  = 16 << 10 // terms, and ranges of signed URLs: twice the number of the smallest chunks in a batch
)

// errPlan says that an answer is no reconstruction of what was asked for.
var errPlan = errors.New("no sound reconstruction")

// span is a range, its end exclusive: of bytes or of chunks.
type span struct{ start, end int64 }

// has tells whether all of o is in s.
func (s span) has(o span) bool { return s.start <= o.start && o.end <= s.end }

// plan says of what a range of a file is made.
type plan struct {
	skip  int64 // bytes of the first term that come before the range
	terms []term
	xorbs map[string][]fetch
	last  map[string]int // index of the last term of each xorb
}

// term is a run of chunks of a xorb.
type term struct {
	xorb   string // 64 hex digits
	chunks span
	size   int64 // bytes, decoded
}

// fetch is a signed URL for some ranges of a xorb.
type fetch struct {
	url    string
	ranges []packed
}

// packed is a run of chunks as it is stored.
type packed struct {
	chunks span
	bytes  span
}

// wireSpan is a range as the storage writes it.
type wireSpan struct {
	Start *int64 `json:"start"`
	End   *int64 `json:"end"`
}

// answer is a reconstruction in version 1 or 2.
type answer struct {
	Skip  *int64 `json:"offset_into_first_range"`
	Terms []struct {
		Hash  string   `json:"hash"`
		Size  int64    `json:"unpacked_length"`
		Range wireSpan `json:"range"`
	} `json:"terms"`
	V1 map[string][]struct {
		URL    string   `json:"url"`
		Bytes  wireSpan `json:"url_range"` // end inclusive
		Chunks wireSpan `json:"range"`
	} `json:"fetch_info"`
	V2 map[string][]struct {
		URL    string `json:"url"`
		Ranges []struct {
			Chunks wireSpan `json:"chunks"`
			Bytes  wireSpan `json:"bytes"` // end inclusive
		} `json:"ranges"`
	} `json:"xorbs"`
}

// parsePlan reads the reconstruction of n bytes. They must be covered by the
// terms, and each term but for the edges of the first and the last be needed.
func parsePlan(body []byte, n int64) (*plan, error) {
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, fmt.Errorf("%w: no JSON of that shape", errPlan)
	}
	p := &plan{xorbs: map[string][]fetch{}, last: map[string]int{}}
	if err := p.takeTerms(a, n); err != nil {
		return nil, err
	}
	if err := p.takeFetches(a); err != nil {
		return nil, err
	}
	for _, t := range p.terms {
		if _, _, ok := p.find(t); !ok {
			return nil, fmt.Errorf("%w: no URL for chunks %d-%d of a xorb", errPlan, t.chunks.start, t.chunks.end)
		}
	}
	return p, nil
}

// takeTerms checks and takes the terms of n bytes.
func (p *plan) takeTerms(a answer, n int64) error {
	if a.Skip == nil || *a.Skip < 0 || len(a.Terms) == 0 || len(a.Terms) > maxTerms {
		return fmt.Errorf("%w: %d terms", errPlan, len(a.Terms))
	}
	p.skip = *a.Skip
	left := n + p.skip
	for i, t := range a.Terms {
		chunks, ok := t.Range.span(0)
		count := chunks.end - chunks.start
		switch {
		case !ok || chunks.end > maxXorbChunks || !isHash(t.Hash):
			return fmt.Errorf("%w: a term is of no chunks of a xorb", errPlan)
		case t.Size < count || t.Size > min(count*maxChunk, maxXorb):
			return fmt.Errorf("%w: a term has %d bytes in %d chunks", errPlan, t.Size, count)
		case i == 0 && p.skip >= t.Size:
			return fmt.Errorf("%w: the range begins behind the first term", errPlan)
		case left <= 0:
			return fmt.Errorf("%w: more terms than the range has", errPlan)
		}
		left -= t.Size
		p.last[t.Hash] = i
		p.terms = append(p.terms, term{xorb: t.Hash, chunks: chunks, size: t.Size})
	}
	if left > 0 {
		return fmt.Errorf("%w: the terms lack %d bytes", errPlan, left)
	}
	return nil
}

// takeFetches checks and takes the signed URLs of either version.
func (p *plan) takeFetches(a answer) error {
	count := 0
	add := func(xorb, address string, ranges []packed) error {
		if count += len(ranges); count > maxTerms || len(ranges) == 0 {
			return fmt.Errorf("%w: %d ranges of xorbs", errPlan, count)
		}
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
			return fmt.Errorf("%w: no URL for a xorb", errPlan)
		}
		for i, r := range ranges {
			if i > 0 && (r.chunks.start < ranges[i-1].chunks.end || r.bytes.start < ranges[i-1].bytes.end) {
				return fmt.Errorf("%w: the ranges of a xorb overlap", errPlan)
			}
		}
		p.xorbs[xorb] = append(p.xorbs[xorb], fetch{url: address, ranges: ranges})
		return nil
	}
	for xorb, entries := range a.V1 {
		for _, e := range entries {
			r, err := packedOf(e.Chunks, e.Bytes)
			if err == nil {
				err = add(xorb, e.URL, []packed{r})
			}
			if err != nil {
				return err
			}
		}
	}
	for xorb, entries := range a.V2 {
		for _, e := range entries {
			ranges := make([]packed, 0, len(e.Ranges))
			for _, wire := range e.Ranges {
				r, err := packedOf(wire.Chunks, wire.Bytes)
				if err != nil {
					return err
				}
				ranges = append(ranges, r)
			}
			if err := add(xorb, e.URL, ranges); err != nil {
				return err
			}
		}
	}
	return nil
}

// packedOf checks a run of chunks and the bytes that hold it.
func packedOf(chunks, bytes wireSpan) (packed, error) {
	c, ok1 := chunks.span(0)
	b, ok2 := bytes.span(1)
	size, count := b.end-b.start, c.end-c.start
	if !ok1 || !ok2 || c.end > maxXorbChunks || size <= count*chunkHeader || size > count*(chunkHeader+maxPacked) || b.end > 2*maxXorb {
		return packed{}, fmt.Errorf("%w: a range of a xorb is none", errPlan)
	}
	return packed{chunks: c, bytes: b}, nil
}

// span returns a range that holds something; more is 1 where the end is inclusive.
func (w wireSpan) span(more int64) (span, bool) {
	if w.Start == nil || w.End == nil || *w.Start < 0 || *w.End > 1<<40 || *w.End+more <= *w.Start {
		return span{}, false
	}
	return span{*w.Start, *w.End + more}, true
}

// find returns what holds a term: a URL, and which of its ranges.
func (p *plan) find(t term) (f fetch, at int, ok bool) {
	for _, f := range p.xorbs[t.xorb] {
		for i, r := range f.ranges {
			if r.chunks.has(t.chunks) {
				return f, i, true
			}
		}
	}
	return fetch{}, 0, false
}

// header returns the Range that a URL was signed for.
func (f fetch) header() string {
	var b strings.Builder
	for i, r := range f.ranges {
		sep := ","
		if i == 0 {
			sep = "bytes="
		}
		fmt.Fprintf(&b, "%s%d-%d", sep, r.bytes.start, r.bytes.end-1)
	}
	return b.String()
}

// size returns how many bytes all ranges have together.
func (f fetch) size() (n int64) {
	for _, r := range f.ranges {
		n += r.bytes.end - r.bytes.start
	}
	return n
}

// IsHash tells whether s is the hash of a file: 64 lower-case hex digits. Hubs
// blot it out with asterisks for some.
func IsHash(s string) bool { return isHash(s) }

// isHash tells whether s is 64 lower-case hex digits.
func isHash(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}
