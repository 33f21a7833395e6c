package rest

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// fields are those of one JSON object. A null field is an absent one, unknown
// fields are ignored. The first field of a wrong type is kept as err.
type fields struct {
	raw map[string]json.RawMessage
	err error
}

// readFields takes an object apart; any other value has no fields.
func readFields(body []byte) (*fields, error) {
	f := &fields{}
	if len(body) == 0 || body[0] != '{' {
		return f, nil
	}
	if err := json.Unmarshal(body, &f.raw); err != nil {
		return nil, fmt.Errorf("%w: %w", errJSON, err)
	}
	return f, nil
}

// fail keeps the first error.
func (f *fields) fail(name, problem string) {
	if f.err == nil {
		f.err = &shapeError{field: name, problem: problem}
	}
}

// has tells whether a field is there, null or not.
func (f *fields) has(name string) bool {
	_, ok := f.raw[name]
	return ok
}

// value returns a field that is there and not null.
func (f *fields) value(name string) (json.RawMessage, bool) {
	raw, ok := f.raw[name]
	return raw, ok && string(raw) != "null"
}

// text returns a string, "" if it is absent.
func (f *fields) text(name string) string {
	raw, ok := f.value(name)
	if !ok {
		return ""
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		f.fail(name, "must be a string")
	}
	return s
}

// truth returns a boolean, or absent if it is not there.
func (f *fields) truth(name string, absent bool) bool {
	raw, ok := f.value(name)
	if !ok {
		return absent
	}
	switch string(raw) {
	case "true":
		return true
	case "false":
		return false
	}
	f.fail(name, "must be true or false")
	return absent
}

// whole returns a whole number of at least least; ok is false if it is absent.
func (f *fields) whole(name string, least int64) (n int64, ok bool) {
	raw, ok := f.value(name)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n < least {
		f.fail(name, fmt.Sprintf("must be a whole number of at least %d", least))
		return 0, false
	}
	return n, true
}

// maxWait bounds a wait, so that adding it to a time can't overflow.
const maxWait = 100 * 365 * 24 * time.Hour

// wait returns a number of milliseconds.
func (f *fields) wait(name string, least int64) (d time.Duration, ok bool) {
	ms, ok := f.whole(name, least)
	if ms > int64(maxWait/time.Millisecond) {
		return maxWait, ok
	}
	return time.Duration(ms) * time.Millisecond, ok
}

// moment returns a point in time in the form of Rust's serde:
// {"secs_since_epoch":S,"nanos_since_epoch":N}.
func (f *fields) moment(name string) (at time.Time, ok bool) {
	raw, ok := f.value(name)
	if !ok {
		return at, false
	}
	inner, err := readFields(raw)
	if err != nil || raw[0] != '{' {
		f.fail(name, `must be null or {"secs_since_epoch":…,"nanos_since_epoch":…}`)
		return at, false
	}
	secs, haveSecs := inner.whole("secs_since_epoch", 0)
	nanos, haveNanos := inner.whole("nanos_since_epoch", 0)
	switch {
	case inner.err != nil:
		f.fail(name, strings.TrimSpace(inner.err.Error()))
	case !haveSecs || !haveNanos:
		f.fail(name, "must have secs_since_epoch and nanos_since_epoch")
	case nanos >= int64(time.Second):
		f.fail(name, "has a nanos_since_epoch of a second or more")
	default:
		const end = 253402300799 // of year 9999: what "never" may as well be
		return time.Unix(min(secs, end), nanos), true
	}
	return at, false
}
