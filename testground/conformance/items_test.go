package conformance

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// TestItems: every item of the conformance list (fetch, send, receive, reports,
// process, transport) has a test that is named after it.
func TestItems(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	ok(t, err)
	var names strings.Builder
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		ok(t, err)
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(fn.Name.Name, "Test") {
				names.WriteString(fn.Name.Name + "\n")
			}
		}
	}
	for kind, last := range map[string]int{"F": 17, "S": 12, "R": 12, "P": 4, "J": 5, "T": 5} {
		for i := 1; i <= last; i++ {
			if item := fmt.Sprintf("%s%02d", kind, i); !strings.Contains(names.String(), item) {
				t.Errorf("%s has no test", item)
			}
		}
	}
}
