package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"iter"

	"github.com/hypha-node/hypha-node/api/control"
)

// output prints results.
type output struct {
	json bool
	w    *bufio.Writer
	over func(line []byte) error // prints a line above bars on the same terminal; nil: no bars
}

// newOutput returns an output to w.
func newOutput(w io.Writer, asJSON bool) *output {
	return &output{json: asJSON, w: bufio.NewWriterSize(w, 16<<10)}
}

// print prints one result: v as JSON, or the text.
func (o *output) print(v any, text string, args ...any) error {
	if o.json {
		enc := json.NewEncoder(o.w)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			return err
		}
		return o.flush()
	}
	return o.line(text, args...)
}

// line prints one line for people. Arguments from outside are escaped by the
// caller.
func (o *output) line(text string, args ...any) error {
	if o.over != nil {
		return o.over(fmt.Appendf(nil, text+"\n", args...))
	}
	if _, err := fmt.Fprintf(o.w, text+"\n", args...); err != nil {
		return err
	}
	return o.flush()
}

// table prints rows of a name and a value; rows without a value are left out.
func (o *output) table(rows [][2]string) error {
	width := 0
	for _, r := range rows {
		width = max(width, len(r[0]))
	}
	for _, r := range rows {
		if r[1] == "" {
			continue
		}
		if err := o.line("%-*s  %s", width, r[0], r[1]); err != nil {
			return err
		}
	}
	return nil
}

// flush writes what is held back.
func (o *output) flush() error { return o.w.Flush() }

// each shows the progress of a streamed answer and hands every item to do.
func each[T any](a *app, answer iter.Seq2[control.Event[T], error], do func(T) error) error {
	p := a.newProgress()
	defer p.close()
	for ev, err := range answer {
		switch {
		case err != nil:
			return err
		case ev.Progress != nil:
			err = p.update(*ev.Progress)
		case ev.Item != nil:
			err = p.done(subject(*ev.Item), func() error { return do(*ev.Item) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// subject returns the path whose progress an item ends.
func subject(item any) string {
	switch it := item.(type) {
	case control.Fetched:
		return it.Path
	case control.Added:
		return it.Path
	case control.Exported:
		return it.Path
	case control.Imported:
		return it.Path
	}
	return ""
}
