package xet

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"
)

// x1 and x2 are hashes of xorbs.
var x1, x2 = strings.Repeat("1", 64), strings.Repeat("2", 64) //nolint:gochecknoglobals // constants

// sound is a reconstruction of 1,000 bytes in version 2: two terms, one xorb.
func sound() string {
	return `{"offset_into_first_range":7,"terms":[` +
		`{"hash":"` + x1 + `","unpacked_length":507,"range":{"start":0,"end":2}},` +
		`{"hash":"` + x1 + `","unpacked_length":600,"range":{"start":4,"end":5}}],` +
		`"xorbs":{"` + x1 + `":[{"url":"https://cdn.example/x?s=1","ranges":[` +
		`{"chunks":{"start":0,"end":2},"bytes":{"start":0,"end":299}},{"chunks":{"start":4,"end":5},"bytes":{"start":400,"end":699}}]}]}}`
}

func TestPlan(t *testing.T) {
	p, err := parsePlan([]byte(sound()), 1000)
	if err != nil {
		t.Fatal(err)
	}
	f, at, ok := p.find(p.terms[1])
	if !ok || at != 1 || f.header() != "bytes=0-299,400-699" || f.size() != 600 || p.skip != 7 {
		t.Errorf("%+v, %d, %t", f, at, ok)
	}
	v1 := `{"offset_into_first_range":0,"terms":[{"hash":"` + x1 + `","unpacked_length":50,"range":{"start":1,"end":2}}],` +
		`"fetch_info":{"` + x1 + `":[{"range":{"start":0,"end":3},"url_range":{"start":9,"end":99},"url":"http://cdn.example/x"}]}}`
	p, err = parsePlan([]byte(v1), 50)
	if err != nil {
		t.Fatal(err)
	}
	if f, _, ok := p.find(p.terms[0]); !ok || f.header() != "bytes=9-99" {
		t.Errorf("version 1: %+v, %t", f, ok)
	}
}

// TestPlanLies: what a storage may not say.
func TestPlanLies(t *testing.T) {
	tests := map[string][2]string{ // what is replaced in a sound answer, and by what
		"no JSON":                    {`{"offset`, `<html>`},
		"no offset":                  {`"offset_into_first_range":7,`, ``},
		"negative offset":            {`range":7`, `range":-1`},
		"offset behind the term":     {`range":7`, `range":507`},
		"offset too large":           {`range":7`, `range":9e18`},
		"no hash":                    {`"hash":"` + x1, `"hash":"`},
		"hash with letters":          {`"hash":"` + x1, `"hash":"` + strings.Repeat("G", 64)},
		"xorb without a URL":         {`"xorbs":{"` + x1, `"xorbs":{"` + x2},
		"term too short":             {`:600`, `:400`},
		"term too long for it":       {`:600`, `:131073`},
		"term of no bytes":           {`:600`, `:0`},
		"term of negative bytes":     {`:600`, `:-600`},
		"more terms than needed":     {`:507`, `:1007`},
		"chunks backwards":           {`"range":{"start":4,"end":5}`, `"range":{"start":5,"end":4}`},
		"no chunks":                  {`"range":{"start":4,"end":5}`, `"range":{"start":4,"end":4}`},
		"negative chunks":            {`"range":{"start":0,"end":2}`, `"range":{"start":-1,"end":2}`},
		"chunks beyond any xorb":     {`"range":{"start":4,"end":5}`, `"range":{"start":4,"end":9000}`},
		"a range without an end":     {`"range":{"start":4,"end":5}`, `"range":{"start":4}`},
		"chunks that no URL has":     {`"range":{"start":4,"end":5}`, `"range":{"start":3,"end":4}`},
		"no URL":                     {`https://cdn.example/x?s=1`, `x`},
		"another scheme":             {`https://cdn.example/x?s=1`, `file:///etc/passwd`},
		"a URL with a user":          {`https://cdn`, `https://me:secret@cdn`},
		"no ranges":                  {`"ranges":[`, `"ranges":[],"other":[`},
		"ranges that overlap":        {`"bytes":{"start":400`, `"bytes":{"start":299`},
		"ranges in another order":    {`"chunks":{"start":4,"end":5}`, `"chunks":{"start":1,"end":5}`},
		"bytes backwards":            {`{"start":400,"end":699}`, `{"start":700,"end":699}`},
		"bytes beyond any xorb":      {`{"start":400,"end":699}`, `{"start":400000000000,"end":400000000299}`},
		"more bytes than chunks can": {`{"start":400,"end":699}`, `{"start":400,"end":1000000}`},
		"fewer bytes than a header":  {`{"start":400,"end":699}`, `{"start":400,"end":407}`},
	}
	for name, tt := range tests {
		text := strings.Replace(sound(), tt[0], tt[1], 1)
		if text == sound() {
			t.Fatalf("%s: nothing was replaced", name)
		}
		if _, err := parsePlan([]byte(text), 1000); !errors.Is(err, errPlan) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var many strings.Builder
	for i := range maxTerms + 1 {
		fmt.Fprintf(&many, `,{"hash":"%s","unpacked_length":1,"range":{"start":%d,"end":%d}}`, x1, i%8000, i%8000+1)
	}
	text := `{"offset_into_first_range":0,"terms":[` + many.String()[1:] + `],"xorbs":{}}`
	if _, err := parsePlan([]byte(text), maxTerms+1); !errors.Is(err, errPlan) {
		t.Errorf("too many terms: %v", err)
	}
}

func FuzzPlan(f *testing.F) {
	f.Add([]byte(sound()), int64(1000))
	f.Add([]byte(`{"offset_into_first_range":0,"terms":[{}],"fetch_info":{"":[{}]}}`), int64(1))
	f.Fuzz(func(t *testing.T, body []byte, n int64) {
		p, err := parsePlan(body, max(1, n%(1<<40)))
		if err != nil {
			return
		}
		sum := -p.skip
		for _, x := range p.terms {
			sum += x.size
			fetch, at, ok := p.find(x)
			if !ok || !fetch.ranges[at].chunks.has(x.chunks) || x.size <= 0 || fetch.size() <= 0 {
				t.Fatalf("term %+v in %+v", x, fetch)
			}
		}
		if sum < max(1, n%(1<<40)) {
			t.Fatalf("the terms give %d bytes", sum)
		}
	})
}

func TestToken(t *testing.T) {
	now := time.Unix(1e9, 0)
	good := map[string]any{"accessToken": "t", "casUrl": "https://cas.example/", "exp": 1e9 + 100}
	parse := func(from string, change map[string]any) (token, error) {
		all := map[string]any{}
		for _, m := range []map[string]any{good, change} {
			maps.Copy(all, m)
		}
		body, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		return parseToken(body, from, now)
	}
	got, err := parse("https://hub.example/x", nil)
	if err != nil || got.cas != "https://cas.example" || got.secret.Reveal() != "t" || got.until.Unix() != 1e9+100 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := parse("http://127.0.0.1/x", map[string]any{"casUrl": "http://127.0.0.1:1"}); err != nil {
		t.Errorf("a hub without TLS names a storage without: %v", err)
	}
	for name, change := range map[string]map[string]any{
		"no token": {"accessToken": ""}, "a token with a line end": {"accessToken": "a\r\nb"}, "over": {"exp": 1e9}, "no end": {"exp": 0},
		"never": {"exp": 1e13}, "no storage": {"casUrl": ""}, "a file": {"casUrl": "file:///x"}, "without TLS": {"casUrl": "http://cas.example"},
		"a user": {"casUrl": "https://a:b@cas.example"}, "a query": {"casUrl": "https://cas.example?x=1"},
	} {
		if _, err := parse("https://hub.example/x", change); !errors.Is(err, errPlan) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := parseToken([]byte("<html>"), "https://hub.example", now); !errors.Is(err, errPlan) {
		t.Errorf("no JSON: %v", err)
	}
}

// TestTokens: few are remembered, and none that is about to end.
func TestTokens(t *testing.T) {
	var all tokens
	now := time.Unix(1e9, 0)
	for i := range 2 * maxTokens {
		all.put(fmt.Sprint(i), token{until: now.Add(time.Duration(i) * time.Second)})
	}
	if n := len(all.kept); n != maxTokens {
		t.Errorf("%d tokens", n)
	}
	last := token{until: now.Add((2*maxTokens - 1) * time.Second)}
	if got, ok := all.get(fmt.Sprint(2*maxTokens-1), now); !ok || got != last {
		t.Errorf("the newest one: %+v, %t", got, ok)
	}
	if _, ok := all.get(fmt.Sprint(2*maxTokens-1), last.until.Add(-early)); ok {
		t.Error("a token that is about to end")
	}
	all.drop(fmt.Sprint(2*maxTokens-1), token{})
	if len(all.kept) != maxTokens {
		t.Error("a newer token was dropped")
	}
	all.drop(fmt.Sprint(2*maxTokens-1), last)
	if len(all.kept) != maxTokens-1 {
		t.Error("a token that was refused is kept")
	}
}
