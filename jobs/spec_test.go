package jobs

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/hypha-node/hypha-node/bridge/bridgetest"
)

func TestParseSpec(t *testing.T) {
	const text = `{"id":"a-1","work_dir":"/w","scope":"s","channel":"c","peers":["12D3KooWA"],"secret":"hush","limits":{"bytes":5,"transfers":-1},
		"controller":"unix:/run/c.sock","command":{"args":["x","{JOB_FILE}"],"env":{"A":"<b>"},"dir":"sub","config":{"n":12345678901234567890.5},
		"grace":1.5,"timeout":"1h"},"inputs":{"in":["hf://a/b",{"type":"uri","value":"https://x/y"}],"other":"hf://c/d"},
		"outputs":["out/**/*.bin"],"announce":true,"keep":"failed","after":["b"]}`
	s, err := ParseSpec([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if time.Duration(s.Command.Grace) != 1500*time.Millisecond || time.Duration(s.Command.Timeout) != time.Hour || s.Limits.Transfers != -1 {
		t.Errorf("%+v %+v", s, s.Command)
	}
	inputs, err := s.inputs()
	if err != nil || len(inputs) != 3 || inputs[0].dir != "in" || inputs[2].dir != "other" {
		t.Errorf("%v, %v", inputs, err)
	}
	back, err := encode(s)
	if err != nil || !strings.Contains(string(back), `12345678901234567890.5`) || !strings.Contains(string(back), "<b>") {
		t.Errorf("%s, %v", back, err)
	}
	again, err := ParseSpec(back)
	if diff := cmp.Diff(s, again); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if s, err := ParseSpec([]byte("{}")); err != nil || s.scope() != "" {
		t.Errorf("%+v, %v", s, err)
	}
}

// Everything that a spec can't be is said so in a sentence that names the field.
func TestHostileSpecs(t *testing.T) {
	many := func(n int, each string) string {
		return "[" + strings.TrimSuffix(strings.Repeat(each+",", n), ",") + "]"
	}
	long := strings.Repeat("x", 200<<10)
	for name, tt := range map[string]struct{ text, want string }{
		"nothing":               {``, "ends too early"},
		"cut":                   {`{"id":"a"`, "ends too early"},
		"no object":             {`[]`, "is no struct"},
		"two documents":         {`{}{}`, "more than one"},
		"unknown field":         {`{"colour":"red"}`, `unknown field "colour"`},
		"unknown field inside":  {`{"command":{"args":["x"],"colour":1}}`, `unknown field "colour"`},
		"wrong type":            {`{"peers":"x"}`, `"peers" is no slice`},
		"id outside":            {`{"id":"../x"}`, "invalid job id"},
		"scope outside":         {`{"scope":"a/b"}`, "scope: invalid job id"},
		"scope hidden":          {`{"scope":".x"}`, "scope: invalid job id"},
		"channel with a break":  {`{"channel":"a\nb"}`, "channel"},
		"long channel":          {`{"channel":"` + strings.Repeat("c", 65) + `"}`, "channel"},
		"empty peer":            {`{"peers":[""]}`, "peers[0]"},
		"peer with a break":     {`{"peers":["12D3\u0000"]}`, "peers[0]"},
		"long peer":             {`{"peers":["` + strings.Repeat("Q", 129) + `"]}`, "peers[0]"},
		"too many peers":        {`{"peers":` + many(4097, `"a"`) + `}`, "more than 4096"},
		"long secret":           {`{"secret":"` + strings.Repeat("s", 1025) + `"}`, "secret: longer"},
		"controller elsewhere":  {`{"controller":"file:///etc/passwd"}`, "controller"},
		"controller no host":    {`{"controller":"http://"}`, "controller"},
		"controller opaque":     {`{"controller":"http:x"}`, "controller"},
		"controller query":      {`{"controller":"http://x/?a=b"}`, "no query"},
		"controller relative":   {`{"controller":"unix:x.sock"}`, "absolute"},
		"controller zero":       {`{"controller":"unix:/a\u0000b"}`, "absolute"},
		"controller password":   {`{"controller":"ftp://u:hush@x"}`, "controller"},
		"no command":            {`{"command":{}}`, "neither args nor an executor"},
		"empty program":         {`{"command":{"args":[""]}}`, "neither args nor an executor"},
		"zero byte":             {`{"command":{"args":["a\u0000b"]}}`, "args[0]"},
		"zero byte in env":      {`{"command":{"args":["a"],"env":{"A":"\u0000"}}}`, `variable "A"`},
		"variable with =":       {`{"command":{"args":["a"],"env":{"A=B":""}}}`, "can't be set"},
		"nameless variable":     {`{"command":{"args":["a"],"env":{"":"x"}}}`, "can't be set"},
		"negative grace":        {`{"command":{"args":["a"],"grace":"-1s"}}`, "negative"},
		"no duration":           {`{"command":{"args":["a"],"timeout":"soon"}}`, "no duration"},
		"endless duration":      {`{"command":{"args":["a"],"timeout":1e300}}`, "no duration"},
		"object for a duration": {`{"command":{"args":["a"],"timeout":{}}}`, "no duration"},
		"dir outside":           {`{"command":{"args":["a"],"dir":"../x"}}`, "dir"},
		"too many args":         {`{"command":{"args":` + many(4097, `"a"`) + `}}`, "more than 4096"},
		"large config":          {`{"command":{"args":["a"],"config":"` + long + `"}}`, "at most 131072"},
		"input outside":         {`{"inputs":{"../x":"hf://a/b"}}`, "inputs"},
		"input at the root":     {`{"inputs":{".":"hf://a/b"}}`, "inputs"},
		"input of the node":     {`{"inputs":{".HYPHA/x":"hf://a/b"}}`, "reserved"},
		"absolute input":        {`{"inputs":{"/etc":"hf://a/b"}}`, "inputs"},
		"no reference":          {`{"inputs":{"x":5}}`, `input "x"`},
		"empty list":            {`{"inputs":{"x":[]}}`, `input "x"`},
		"bad reference":         {`{"inputs":{"x":["hf://a/b","y"]}}`, `input "x"`},
		"output outside":        {`{"outputs":["../*"]}`, "outputs[0]"},
		"absolute output":       {`{"outputs":["/etc/*"]}`, "outputs[0]"},
		"output of the node":    {`{"outputs":[".hypha/job.json"]}`, "reserved"},
		"broken pattern":        {`{"outputs":["a/[b"]}`, "syntax error"},
		"too many patterns":     {`{"outputs":` + many(257, `"a"`) + `}`, "more than 256"},
		"keep":                  {`{"keep":"often"}`, "keep"},
		"after itself":          {`{"id":"a","after":["a"]}`, "the job itself"},
		"after outside":         {`{"after":["../a"]}`, "after[0]"},
		"too many before":       {`{"after":` + many(257, `"a"`) + `}`, "more than 256"},
		"deep":                  {strings.Repeat(`{"command":`, 20_000), ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := ParseSpec([]byte(tt.text))
			if err == nil || !errors.Is(err, ErrSpec) && !errors.Is(err, ErrID) || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("%+v, %v; want %q", s, err, tt.want)
			}
			if len(err.Error()) > 2000 || strings.Contains(err.Error(), "hush") {
				t.Errorf("says too much: %.300s", err)
			}
		})
	}
}

func FuzzParseSpec(f *testing.F) {
	for _, text := range []string{
		`{}`, `{"id":"a","command":{"args":["x"],"grace":1.5,"timeout":"1h"}}`, `{"inputs":{"a":["hf://b/c",{"type":"uri","value":"https://x"}]}}`,
		`{"outputs":["**/[a-z]?*"],"keep":"always","after":["b"],"limits":{"bytes":1}}`, `{"controller":"unix:/x","secret":"\u00e9","peers":["Qm"]}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ParseSpec(text)
		if err != nil {
			if !errors.Is(err, ErrSpec) && !errors.Is(err, ErrID) {
				t.Fatalf("%v is neither ErrSpec nor ErrID", err)
			}
			return
		}
		back, err := encode(s)
		if err != nil || len(back) > MaxSpec {
			t.Fatalf("%d bytes, %v", len(back), err)
		}
		again, err := ParseSpec(back)
		if err != nil {
			t.Fatalf("%s was accepted, %s is not: %v", text, back, err)
		}
		if third, err := encode(again); err != nil || string(third) != string(back) {
			t.Fatalf("%s became %s, %v", back, third, err)
		}
		for dir := range s.Inputs {
			if checkInside(dir) != nil {
				t.Fatalf("input %q", dir)
			}
		}
	})
}

// A record of any content is read or refused.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"created":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`{"state":"running","run":{"cookie":"c","pid":1},"spec":{"inputs":{"a":"hf://b/c"}},"next":"failed"}`))
	s := &Supervisor{place: places{dir: "/jobs"}, broken: map[string]error{}}
	f.Fuzz(func(t *testing.T, value []byte) {
		rec, err := parseRecord("id", value)
		if err != nil {
			return
		}
		job := s.describe("id", rec)
		if job.ID != "id" || job.Socket != "/jobs/id/bridge.sock" {
			t.Fatalf("%+v", job)
		}
		if _, err := json.Marshal(job); err != nil {
			t.Fatal(err)
		}
	})
}

// No listing holds a secret.
func TestSecretsStayInside(t *testing.T) {
	s := newSite(t, bridgetest.Options{})
	sup, _ := s.serving(t, nil)
	spec := shell("true")
	spec.Secret, spec.Controller = "hush-1", "http://user:hush-2@127.0.0.1:1/base"
	spec.Command.Env = map[string]string{"HF_TOKEN": "hush-3"}
	spec.Inputs = map[string]json.RawMessage{"in": json.RawMessage(`{"type":"uri","value":"` + s.Origin.URL + `/none?sig=hush-4","headers":{"Authorization":"hush-5"}}`)}
	job := awaitState(t, sup, create(t, sup, spec).ID)
	text, err := json.Marshal(job)
	if err != nil || strings.Contains(string(text), "hush") || !job.HasSecret || job.Controller != "http://127.0.0.1:1/base" {
		t.Errorf("%s, %v", text, err)
	}
	if job.State != StateFailed {
		t.Errorf("%+v", job)
	}
}

func TestQueueOfPlaces(t *testing.T) {
	q := queue{free: 2}
	var got []<-chan struct{}
	var leave []func()
	for range 5 {
		g, l := q.ask()
		got, leave = append(got, g), append(leave, l)
	}
	has := func() (text string) {
		for i, g := range got {
			select {
			case <-g:
				text += strconv.Itoa(i)
			default:
			}
		}
		return text
	}
	for _, step := range []struct {
		leaves int
		want   string
	}{{-1, "01"}, {3, "01"}, {0, "012"}, {2, "0124"}, {1, "0124"}, {4, "0124"}} {
		if step.leaves >= 0 {
			leave[step.leaves]()
		}
		if has() != step.want {
			t.Errorf("after %d left, %s have a place, want %s", step.leaves, has(), step.want)
		}
	}
	if q.free != 2 || len(q.line) != 0 {
		t.Errorf("%d free, %d in line", q.free, len(q.line))
	}
}
