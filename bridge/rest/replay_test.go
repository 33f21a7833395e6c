package rest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// replay runs a golden transcript; bridge/testdata/README.md has the format. It is
// written apart from replay.py, so that a mistake in one shows in the other.
type replay struct {
	t    *testing.T
	vars map[string]string
	job  *side
	peer *side
	at   *side
}

// side is one bridge that is talked to.
type side struct {
	socket, dir string
	conn        net.Conn
	resp        *http.Response
	body        *bufio.Reader
}

// close ends the conversation.
func (s *side) close() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// run replays a file; it stops the test at the first mismatch.
func (r *replay) run(file string) {
	r.t.Helper()
	if err := r.try(file); err != nil {
		r.t.Fatalf("%s:%v", filepath.Base(file), err)
	}
}

// try replays a file until the first mismatch.
func (r *replay) try(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	r.at = r.job
	defer r.job.close()
	defer r.peer.close()
	lines := strings.Split(string(data), "\n")
	for i := 0; i < len(lines); {
		mark, end := lines[i], i+1
		if mark != "" {
			mark = mark[:1]
		}
		block := []string{lines[i]}
		if mark == ">" || mark == "<" {
			for ; end < len(lines) && strings.HasPrefix(lines[end], mark); end++ {
				block = append(block, lines[end])
			}
			for n, line := range block {
				block[n] = strings.TrimPrefix(strings.TrimPrefix(line, mark), " ")
			}
		}
		switch mark {
		case ">":
			err = r.send(block)
		case "<":
			err = r.expect(block)
		default:
			err = r.directive(lines[i])
		}
		if err != nil {
			return fmt.Errorf("%d: %w", i+1, err)
		}
		i = end
	}
	return nil
}

// directive does what a line that is neither of a request nor of an answer says.
func (r *replay) directive(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	name, text, _ := strings.Cut(rest, " ")
	path := filepath.Join(r.at.dir, name)
	switch word {
	case "", "#", "more":
	case "need":
		for v := range strings.FieldsSeq(rest) {
			if r.vars[v] == "" {
				return fmt.Errorf("%s is not set", v)
			}
		}
	case "at":
		r.at = map[string]*side{"job": r.job, "peer": r.peer}[rest]
	case "file":
		return errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600))
	case "check":
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			return fmt.Errorf("%s has %q, %w", name, got, err)
		}
	case "gone":
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s is there: %w", name, err)
		}
	default:
		return fmt.Errorf("no such line: %q", line)
	}
	return nil
}

// fill puts variables into a text.
func (r *replay) fill(text string) string {
	for name, value := range r.vars {
		text = strings.ReplaceAll(text, "{{"+name+"}}", value)
	}
	return text
}

// cut splits a block at its first empty line.
func cut(block []string) (head, body []string) {
	if n := slices.Index(block, ""); n >= 0 {
		return block[:n], block[n+1:]
	}
	return block, nil
}

// send sends a request and reads the head of its answer.
func (r *replay) send(block []string) error {
	head, body := cut(block)
	text := r.fill(strings.Join(body, "\n"))
	request := r.fill(strings.Join(head, "\r\n")) + "\r\n"
	if text != "" {
		request += fmt.Sprintf("Content-Length: %d\r\n", len(text))
	}
	r.at.close()
	r.at.conn = dial(r.t, r.at.socket)
	if _, err := io.WriteString(r.at.conn, request+"\r\n"+text); err != nil {
		return err
	}
	var err error
	//nolint:bodyclose // the connection is closed
	r.at.resp, err = http.ReadResponse(bufio.NewReader(r.at.conn), nil)
	if err == nil {
		r.at.body = bufio.NewReader(r.at.resp.Body)
	}
	return err
}

// expect holds an answer, or more of a stream, against what is expected.
func (r *replay) expect(block []string) error {
	resp, body := r.at.resp, block
	if status, err := strconv.Atoi(block[0]); err == nil {
		var head []string
		head, body = cut(block)
		if resp.StatusCode != status {
			data, err := io.ReadAll(r.at.body)
			return fmt.Errorf("status %d: %s, %w", resp.StatusCode, data, err)
		}
		for _, line := range head[1:] {
			name, value, _ := strings.Cut(line, ": ")
			if got := resp.Header.Get(name); got != value {
				return fmt.Errorf("%s is %q", name, got)
			}
		}
	}
	if resp.Header.Get("Content-Type") == eventStream {
		return r.events(body)
	}
	got, err := io.ReadAll(r.at.body)
	if err != nil {
		return err
	}
	if len(body) == 0 {
		if len(got) > 0 {
			return fmt.Errorf("a body: %s", got)
		}
		return nil
	}
	return r.matchJSON(strings.Join(body, "\n"), string(got))
}

// events reads events and compares them.
func (r *replay) events(lines []string) error {
	var want event
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case "event":
			want.name = value
		case "id":
			want.id = value
		case "data":
			var got event
			for got.data == "" {
				var err error
				if got, err = readEvent(r.at.body); err != nil {
					return err
				}
			}
			if err := r.match("event", want.name, got.name); err != nil {
				return err
			}
			if (want.id == "") != (got.id == "") {
				return fmt.Errorf("id is %q", got.id)
			}
			if want.id != "" {
				id, err := strconv.Atoi(got.id)
				if err != nil {
					return err
				}
				if err := r.match("id", want.id, float64(id)); err != nil {
					return err
				}
			}
			if err := r.matchJSON(value, got.data); err != nil {
				return err
			}
			want = event{}
		}
	}
	return nil
}

func (r *replay) matchJSON(want, got string) error {
	var w, g any
	if err := errors.Join(json.Unmarshal([]byte(want), &w), json.Unmarshal([]byte(got), &g)); err != nil {
		return fmt.Errorf("%s: %w", got, err)
	}
	if err := r.match("", w, g); err != nil {
		return fmt.Errorf("%w in %s", err, got)
	}
	return nil
}

// match compares a value with what is expected.
func (r *replay) match(where string, want, got any) error {
	switch want := want.(type) {
	case map[string]any:
		have, ok := got.(map[string]any)
		_, open := want["..."]
		if !ok || !open && len(have) != len(want) {
			return fmt.Errorf("%s has other keys", where)
		}
		for _, key := range slices.Sorted(maps.Keys(want)) {
			value, ok := have[key]
			if key == "..." {
				continue
			}
			if !ok {
				return fmt.Errorf("%s.%s is missing", where, key)
			}
			if err := r.match(where+"."+key, want[key], value); err != nil {
				return err
			}
		}
	case []any:
		have, ok := got.([]any)
		if !ok || len(have) != len(want) {
			return fmt.Errorf("%s is no list of %d", where, len(want))
		}
		for i := range want {
			if err := r.match(fmt.Sprintf("%s[%d]", where, i), want[i], have[i]); err != nil {
				return err
			}
		}
	case string:
		return r.matchText(where, want, got)
	default:
		if want != got {
			return fmt.Errorf("%s is %v, not %v", where, got, want)
		}
	}
	return nil
}

// matchText compares a value with a text, which may stand for any of a kind.
func (r *replay) matchText(where, want string, got any) error {
	text, isText := got.(string)
	if n, ok := got.(float64); ok {
		text = strconv.FormatFloat(n, 'f', -1, 64)
	}
	kind := regexp.MustCompile(`^\{\{(?:([A-Z_]+):)?([a-z0-9]+)\}\}$`).FindStringSubmatch(want)
	if kind == nil {
		alone := regexp.MustCompile(`^\{\{[A-Z_]+\}\}$`).MatchString(want)
		number := regexp.MustCompile(`^\d+$`).MatchString(want) && where == "id"
		if text != r.fill(want) || !isText && !alone && !number {
			return fmt.Errorf("%s is %v, not %s", where, got, r.fill(want))
		}
		return nil
	}
	patterns := map[string]string{
		"text": `^(?s:.+)$`, "cid": `^(baf[a-z2-7]{56,}|Qm[1-9A-HJ-NP-Za-km-z]{44})$`, "sha256": `^sha256:[0-9a-f]{64}$`,
		"time": `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$`, "path": `^[^/].*$`,
	}
	ok := false
	switch kind[2] {
	case "any":
		ok = true
	case "int":
		ok = !isText && regexp.MustCompile(`^\d+$`).MatchString(text)
	default:
		ok = isText && regexp.MustCompile(patterns[kind[2]]).MatchString(text)
	}
	if ok && kind[2] == "path" {
		info, err := os.Lstat(filepath.Join(r.at.dir, filepath.FromSlash(text)))
		ok = err == nil && info.Mode().IsRegular() && filepath.IsLocal(text)
	}
	if !ok {
		return fmt.Errorf("%s is %v, no %s", where, got, kind[2])
	}
	if kind[1] != "" {
		r.vars[kind[1]] = text
	}
	return nil
}
