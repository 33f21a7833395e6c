package connectors

import (
	"fmt"
	"strings"
	"testing"
)

func TestParsePointer(t *testing.T) {
	good := PointerStart + "oid sha256:" + sum + "\nsize 12345\n"
	tests := []struct {
		name, text string
		ok         bool
		size       int64
	}{
		{"pointer", good, true, 12345},
		{"with an extension", PointerStart + "ext-0-foo sha256:" + strings.Repeat("a", 64) + "\noid sha256:" + sum + "\nsize 0\n", true, 0},
		{"without the last line feed", strings.TrimSuffix(good, "\n"), true, 12345},
		{"empty", "", false, 0},
		{"its beginning alone", PointerStart, false, 0},
		{"another version", strings.Replace(good, "v1", "v9", 1), false, 0},
		{"no size", PointerStart + "oid sha256:" + sum + "\n", false, 0},
		{"no digest", PointerStart + "size 1\n", false, 0},
		{"another digest", PointerStart + "oid md5:" + sum + "\nsize 1\n", false, 0},
		{"digest too short", PointerStart + "oid sha256:" + sum[:62] + "\nsize 1\n", false, 0},
		{"digest in capitals", PointerStart + "oid sha256:" + strings.ToUpper(sum) + "\nsize 1\n", false, 0},
		{"negative size", PointerStart + "oid sha256:" + sum + "\nsize -1\n", false, 0},
		{"size too large", PointerStart + "oid sha256:" + sum + "\nsize 99999999999999999999\n", false, 0},
		{"larger than pointers are", good + strings.Repeat("x", MaxPointer), false, 0},
		{"text that speaks of one", "# how\n" + good, false, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, ok := ParsePointer([]byte(tt.text))
			if ok != tt.ok || ok && (p.Size != tt.size || fmt.Sprintf("%x", p.SHA256) != sum) {
				t.Errorf("got %+v, %v", p, ok)
			}
		})
	}
}

func FuzzParsePointer(f *testing.F) {
	f.Add([]byte(PointerStart + "oid sha256:" + sum + "\nsize 12345\n"))
	f.Add([]byte(PointerStart + "oid sha256:\nsize\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if p, ok := ParsePointer(text); ok && (p.Size < 0 || len(text) > MaxPointer || !strings.Contains(string(text), fmt.Sprintf("sha256:%x", p.SHA256))) {
			t.Errorf("%q gives %+v", text, p)
		}
	})
}
