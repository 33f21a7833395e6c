package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hypha-node/hypha-node/bridge"
	"github.com/hypha-node/hypha-node/connectors"
)

// envelope is a body that holds a reference, in any of the dialects that
// executors speak. The verb is that of the route:
//
//	{verb:R, …}          the reference beside the options
//	{"resource":R, …}    the same, where the top level has no "type"
//	R                    the bare reference, options allowed in it
//
// where R is an object or a URI as a string.
type envelope struct {
	*fields                 // options
	name    string          // field that holds the reference, "" for the body itself
	ref     json.RawMessage // the reference
}

// openEnvelope takes a body apart.
func openEnvelope(body []byte, verb string) (envelope, error) {
	body = bytes.TrimSpace(body)
	f, err := readFields(body)
	if err != nil {
		return envelope{}, err
	}
	if raw, ok := f.value(verb); ok {
		return envelope{f, verb, raw}, nil
	}
	if raw, ok := f.value("resource"); ok && !f.has("type") {
		return envelope{f, "resource", raw}, nil
	}
	return envelope{f, "", body}, nil
}

// reference reads the reference; its fields are checked for their JSON types
// first, which are the request's fault (422) before they are the reference's (400).
func (e envelope) reference() (ref connectors.Ref, err error) {
	if err := checkShape(e.name, e.ref); err != nil {
		return ref, err
	}
	err = ref.UnmarshalJSON(e.ref)
	return ref, err
}

// peers reads a reference that must be one to peers.
func (e envelope) peers() (connectors.Ref, error) {
	ref, err := e.reference()
	if err == nil && ref.Type != connectors.TypePeers {
		err = fmt.Errorf("%w: of type %q where peers are needed", connectors.ErrUnsupported, ref.Type)
	}
	return ref, err
}

// directory returns where files go: out_dir, else path.
func (e envelope) directory() string {
	if dir := e.text("out_dir"); dir != "" {
		return dir
	}
	return e.text("path")
}

// fetchCall is a body of POST /resources/fetch and prefetch.
type fetchCall struct {
	bridge.FetchRequest
	progress bool
}

// parseFetch reads a body of POST /resources/fetch.
func parseFetch(body []byte) (fetchCall, error) {
	e, err := openEnvelope(body, "fetch")
	if err != nil {
		return fetchCall{}, err
	}
	var c fetchCall
	c.OutDir = e.text("out_dir")
	c.progress = e.truth("progress", false)
	if e.err != nil {
		return fetchCall{}, e.err
	}
	c.Ref, err = e.reference()
	return c, err
}

// parsePrefetch reads a body of POST /resources/prefetch: the forms of fetch,
// and {"prefetch":R}.
func parsePrefetch(body []byte) (fetchCall, error) {
	e, err := openEnvelope(body, "prefetch")
	if err != nil {
		return fetchCall{}, err
	}
	if e.name != "prefetch" {
		return parseFetch(body)
	}
	var c fetchCall
	c.Ref, err = e.reference()
	return c, err
}

// sendCall is a body of POST /resources/send.
type sendCall struct {
	bridge.SendRequest
	now      bool // do not wait for the delivery
	progress bool
}

// parseSend reads a body of POST /resources/send, received at the time now.
func parseSend(body []byte, now time.Time) (sendCall, error) {
	e, err := openEnvelope(body, "send")
	if err != nil {
		return sendCall{}, err
	}
	var c sendCall
	if _, ok := e.value("path"); !ok {
		e.fail("path", "is missing")
	}
	c.Path, c.Channel, c.Name = e.text("path"), e.text("channel"), e.text("name")
	c.Key = e.text("transfer_id")
	c.RemoveFile = e.truth("remove_file", false)
	c.now = !e.truth("wait", true)
	c.progress = e.truth("progress", false)
	c.Timeout, _ = e.wait("timeout_ms", 1)
	if at, ok := e.moment("timeout"); ok {
		// What has passed is over at once: 0 would be no limit.
		left := max(at.Sub(now), 1)
		if c.Timeout == 0 || left < c.Timeout {
			c.Timeout = left
		}
	}
	if e.err != nil {
		return sendCall{}, e.err
	}
	ref, err := e.peers()
	if err == nil && len(ref.Peers) == 0 {
		err = &connectors.FieldError{Field: "peers", Problem: "is empty: a file needs a peer to go to"}
	}
	c.Peers, c.Strategy = ref.Peers, strategy(ref)
	return c, err
}

// strategy returns the strategy of a reference; All if it has none.
func strategy(ref connectors.Ref) bridge.Strategy {
	if ref.Strategy == "" {
		return bridge.All
	}
	return bridge.Strategy(ref.Strategy)
}

// receiveCall is a body of POST /resources/receive.
type receiveCall struct {
	bridge.ReceiveRequest
	stream   bool // events until the client goes; else one object
	progress bool
}

// parseReceive reads a body of POST /resources/receive, received at the time now.
func parseReceive(body []byte, header http.Header, now time.Time) (receiveCall, error) {
	e, err := openEnvelope(body, "receive")
	if err != nil {
		return receiveCall{}, err
	}
	var c receiveCall
	c.OutDir, c.Channel = e.directory(), e.text("channel")
	c.progress = e.truth("progress", false)
	if n, ok := e.whole("since", -1); ok {
		c.Since = &n
	}
	c.stream = streams(e, header)
	c.Until = until(e, now)
	if e.err != nil {
		return receiveCall{}, e.err
	}
	ref, err := e.peers()
	if fe, ok := errors.AsType[*connectors.FieldError](err); ok && fe.Field == "strategy" {
		return c, &shapeError{field: join(e.name, "strategy"), problem: onlyAll}
	}
	c.Peers, c.Strategy = ref.Peers, strategy(ref)
	if err == nil && c.Strategy == bridge.Random {
		return c, &shapeError{field: join(e.name, "strategy"), problem: onlyAll}
	}
	return c, err
}

// onlyAll is why a strategy is refused.
const onlyAll = "must be All, or One to end after one file"

// streams tells whether a receive answers with events: if the client says that
// it takes them, else as "stream" says, else unless it is a client that asks
// for one object, by a timeout or by taking JSON.
func streams(e envelope, header http.Header) bool {
	single := e.has("timeout") || e.has("timeout_ms") || accepts(header, "application/json")
	stream := e.truth("stream", !single)
	return stream || accepts(header, eventStream)
}

// accepts tells whether the client names a media type. That it takes anything
// ("*/*") is what a client says that did not think of it.
func accepts(header http.Header, media string) bool {
	return strings.Contains(strings.ToLower(strings.Join(header.Values("Accept"), ",")), media)
}

// until returns when a receive ends that gets nothing; zero if it waits.
func until(e envelope, now time.Time) time.Time {
	at, ok := e.moment("timeout")
	d, limited := e.wait("timeout_ms", 0)
	if after := now.Add(d); limited && (!ok || after.Before(at)) {
		return after
	}
	return at
}

// lastEvent returns what the client had last: the header of that name, which a
// client sends that connects again, else since.
func lastEvent(header http.Header, since *int64) (*int64, error) {
	text := header.Get("Last-Event-ID")
	if text == "" {
		return since, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < -1 {
		return nil, fmt.Errorf("%w: Last-Event-ID must be the id of an event", errValue)
	}
	return &n, nil
}

// maxKey bounds an Idempotency-Key in bytes.
const maxKey = 255

// idempotencyKey returns the header of that name, or else the transfer_id of the
// body, "" if there is neither.
func idempotencyKey(header http.Header, transferID string) (string, error) {
	key := header.Get("Idempotency-Key")
	bad := len(header.Values("Idempotency-Key")) > 1
	if transferID != "" {
		bad = bad || key != "" && key != transferID
		key = transferID
	}
	bad = bad || len(key) > maxKey
	for _, c := range []byte(key) {
		bad = bad || c <= ' ' || c > '~'
	}
	if bad {
		return "", fmt.Errorf("%w: Idempotency-Key, or transfer_id, must be one text of at most %d visible ASCII characters", errValue, maxKey)
	}
	return key, nil
}

// parsePut reads a body of POST /resources/put.
func parsePut(body []byte) (r bridge.PutRequest, err error) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 || body[0] != '{' {
		return r, &shapeError{problem: `must be an object with a "path"`}
	}
	f, err := readFields(body)
	if err != nil {
		return r, err
	}
	if _, ok := f.value("path"); !ok {
		f.fail("path", "is missing")
	}
	r.Path = f.text("path")
	r.Pin, r.Announce = f.truth("pin", false), f.truth("announce", false)
	return r, f.err
}

// shapes says which JSON the fields of a reference are, by their first byte.
func shapes() map[string]string {
	const str, list, strOrList, strOrObject = `"`, `[`, `"[`, `"{`
	return map[string]string{
		"type": str, "value": strOrList, "uri": str, "url": str, "repository": str, "repo_id": str,
		"revision": str, "repo_type": str, "token": str, "checksum": str, "filename": str, "dataset": str,
		"filenames": strOrList, "values": strOrList, "allow_patterns": strOrList, "ignore_patterns": strOrList,
		"headers": `{`, "peers": list, "strategy": strOrObject,
	}
}

// checkShape refuses a reference whose fields have the wrong JSON types.
func checkShape(name string, raw json.RawMessage) error {
	if len(raw) > 0 && raw[0] == '"' {
		return nil
	}
	if len(raw) == 0 || raw[0] != '{' {
		return &shapeError{field: name, problem: "must be a reference: an object or a URI"}
	}
	f, err := readFields(raw)
	if err != nil {
		return err
	}
	if _, ok := f.value("type"); !ok {
		return &shapeError{field: join(name, "type"), problem: "is missing"}
	}
	first := shapes()
	for _, field := range slices.Sorted(maps.Keys(first)) {
		value, ok := f.value(field)
		if ok && !strings.Contains(first[field], string(value[:1])) {
			return &shapeError{field: join(name, field), problem: "has the wrong JSON type"}
		}
	}
	return nil
}

// join returns the path of a field inside another.
func join(outer, inner string) string {
	if outer == "" {
		return inner
	}
	return outer + "." + inner
}
