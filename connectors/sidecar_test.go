package connectors

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestParseSidecar(t *testing.T) {
	other := strings.Repeat("ab", 32)
	tests := []struct {
		name, text string
		ok         bool
	}{
		{"alone", sum, true},
		{"alone, with a line feed", sum + "\n", true},
		{"in capitals", strings.ToUpper(sum) + "  f.bin\n", true},
		{"as sha256sum writes it", sum + "  f.bin\n", true},
		{"as sha256sum -b writes it", sum + " *f.bin\n", true},
		{"as BSD writes it", "SHA256 (f.bin) = " + sum + "\n", true},
		{"with a directory", sum + "  ./dist/f.bin\n", true},
		{"with Windows' ends of lines", sum + "  f.bin\r\n", true},
		{"one of several", other + "  a\n" + sum + "  f.bin\n" + other + "  z\n", true},
		{"with a comment", "# made by hand\n" + sum + "\n", true},
		{"of another file", sum + "  g.bin\n", false},
		{"several without names", sum + "\n" + other + "\n", false},
		{"two that differ", sum + "  f.bin\n" + other + "  f.bin\n", false},
		{"another digest", sum[:40] + "  f.bin\n", false},
		{"a page", "<!DOCTYPE html><title>404</title>", false},
		{"empty", "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ParseSidecar([]byte(tt.text), "dir/f.bin")
			if (got != nil) != tt.ok || got != nil && fmt.Sprintf("%x", *got) != sum {
				t.Errorf("got %x", got)
			}
		})
	}
}

func FuzzParseSidecar(f *testing.F) {
	f.Add([]byte(sum+"  f.bin\n"), "f.bin")
	f.Add([]byte("SHA256 (f.bin) = "+sum+"\n"), "f.bin")
	f.Fuzz(func(t *testing.T, text []byte, name string) {
		if got := ParseSidecar(text, name); got != nil && !strings.Contains(strings.ToLower(string(text)), fmt.Sprintf("%x", *got)) {
			t.Errorf("%x is not in %q", *got, text)
		}
	})
}

// TestSidecarRef: where the sidecar of a reference is.
func TestSidecarRef(t *testing.T) {
	tests := []struct{ ref, want string }{
		{"https://example.org/a%2Fb/f%20g.bin?x=1", "https://example.org/a%2Fb/f%20g.bin.sha256?x=1"},
		{"s3://lab@bucket/a/k", "s3://lab@bucket/a/k.sha256"},
		{"hf://a/b@v1/x/y", "hf://a/b@v1/x/y.sha256"},
		{"file:///a/b", "file:///a/b.sha256"},
		{"hf://a/b", ""},
		{"s3://bucket/a/", ""},
		{"ipfs://" + hello, ""},
	}
	for _, tt := range tests {
		ref, err := ParseURI(tt.ref)
		if err != nil {
			t.Fatal(err)
		}
		ref.Headers = map[string]Secret{"X-Key": "k"}
		got, err := ref.Sidecar()
		switch {
		case tt.want == "" && !errors.Is(err, ErrInvalid):
			t.Errorf("%s: %v, %v, want ErrInvalid", tt.ref, got, err)
		case tt.want == "":
		case err != nil:
			t.Errorf("%s: %v", tt.ref, err)
		case got.Type == TypeURI && got.Value != tt.want, got.Type != TypeURI && got.String() != tt.want, got.Headers["X-Key"] != "k":
			t.Errorf("%s: sidecar is %s (%s), want %s", tt.ref, got, got.Value, tt.want)
		}
	}
}
