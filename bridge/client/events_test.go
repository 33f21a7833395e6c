package client

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestReadEvent(t *testing.T) {
	tests := []struct {
		name, text string
		want       []event
		err        error
	}{
		{"nothing", "", nil, io.EOF},
		{"item", "id: 0\ndata: {}\n\n", []event{{data: []byte("{}")}}, io.EOF},
		{"named", "event: progress\ndata: 1\n\ndata: 2\n\n", []event{{"progress", []byte("1")}, {"", []byte("2")}}, io.EOF},
		{"comment", ": keepalive\n\ndata: 2\n\n", []event{{}, {"", []byte("2")}}, io.EOF},
		{"CRLF", "event: x\r\ndata: 2\r\n\r\n", []event{{"x", []byte("2")}}, io.EOF},
		{"no space", "data:2\n\n", []event{{"", []byte("2")}}, io.EOF},
		{"two lines", "data: 2\ndata:\n\n", []event{{"", []byte("2\n")}}, io.EOF},
		{"cut in a line", "data: 2", nil, io.ErrUnexpectedEOF},
		{"cut after a line", "data: 2\n", nil, io.ErrUnexpectedEOF},
		{"longer than the buffer", "data: " + strings.Repeat("x", 100_000) + "\n\n", []event{{"", []byte(strings.Repeat("x", 100_000))}}, io.EOF},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := bufio.NewReader(strings.NewReader(tt.text))
			var got []event
			for {
				e, err := readEvent(r)
				if err != nil {
					if !errors.Is(err, tt.err) {
						t.Errorf("%v, want %v", err, tt.err)
					}
					break
				}
				got = append(got, e)
			}
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(event{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReadLineIsBounded(t *testing.T) {
	for n, want := range map[int]error{10: nil, 9: errTooLong} {
		if line, err := readLine(bufio.NewReaderSize(strings.NewReader("0123456789\n"), 16), n); !errors.Is(err, want) {
			t.Errorf("at most %d bytes: %q, %v", n, line, err)
		}
	}
}

// FuzzReadEvent: no bytes make the reader fail in another way, or take more than
// there are.
func FuzzReadEvent(f *testing.F) {
	for _, s := range []string{"id: 0\ndata: {}\n\n", ": keepalive\n\n", "event: x\r\ndata\r\n\r\n", "\n\n", "data: \x00\n\xff\n\n", "data"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReaderSize(strings.NewReader(string(b)), 16)
		size := 0
		for {
			e, err := readEvent(r)
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatal(err)
				}
				break
			}
			size += len(e.name) + len(e.data)
		}
		if size > len(b) {
			t.Fatalf("%d bytes of %d", size, len(b))
		}
	})
}
