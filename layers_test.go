package hypha

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/hypha-node/hypha-node"

// layers is the architecture, lowest first: a folder may import from the rows
// above its own in this list and from itself, never from its siblings. A folder
// that is not named here may not exist. Change it in a commit of its own.
func layers() [][]string {
	return [][]string{
		{"internal"},
		{"blockstore"},
		{"dag", "bitswap"},
		{"connectors"},
		{"bridge"},
		{"jobs"},
		{"api"},
		{"node"},
		{"cmd", "testground"},
	}
}

// confined lists the packages that only some folders may import: whoever swaps
// the database, the network or the command line has one place to look.
func confined() map[string][]string {
	return map[string][]string{
		"github.com/dgraph-io":       {"blockstore"},
		"github.com/libp2p":          {"bitswap", "connectors/ipfs", "connectors/peers", "node", "testground"},
		"github.com/alecthomas/kong": {"cmd"},
		"github.com/BurntSushi/toml": {"cmd", "testground"}, // testground's own files are TOML
		"github.com/vbauerster/mpb":  {"cmd"},
		"flag":                       {"cmd", "testground"}, // and tests, which are programs
	}
}

// process lists what only programs may do: a library that exits or reads the
// environment can't be reasoned about from its arguments. Tests are programs.
func process() []string {
	return []string{"Exit", "Getenv", "LookupEnv", "Environ", "ExpandEnv"}
}

// TestLayers fails when a file imports against the layers, when a library
// behaves like a program, and when a package has no package comment or several.
func TestLayers(t *testing.T) {
	comments := map[string]int{} // folder => package comments
	files := 0
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != "." && (d.Name()[0] == '.' || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || filepath.Ext(name) != ".go" {
			return nil
		}
		files++
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		if !strings.HasSuffix(name, "_test.go") {
			comments[filepath.Dir(name)] += min(len(file.Doc.Text()), 1)
		}
		for _, problem := range check(filepath.ToSlash(name), file) {
			t.Error(problem)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for dir, n := range comments {
		if n != 1 {
			t.Errorf("%s: %d package comments, want 1", dir, n)
		}
	}
	t.Logf("%d files in %d packages", files, len(comments))
}

// TestLayersCatch plants one offence of each kind: the guard must bark.
func TestLayersCatch(t *testing.T) {
	for _, tc := range []struct{ name, file, source, want string }{
		{"upwards", "dag/a.go", `import _ "` + module + `/node"`, "dag may not import node"},
		{"sibling", "dag/a.go", `import _ "` + module + `/bitswap"`, "dag may not import bitswap"},
		{"root imports nothing", "a.go", `import _ "` + module + `/dag"`, "may not import dag"},
		{"upwards in a test", "dag/a_test.go", `import _ "` + module + `/cmd/hypha-node"`, "dag may not import cmd"},
		{"database", "jobs/a.go", `import _ "github.com/dgraph-io/badger/v4"`, "belongs to"},
		{"network", "connectors/hf/a.go", `import _ "github.com/libp2p/go-libp2p/core/peer"`, "belongs to"},
		{"flags", "node/a.go", `import _ "flag"`, "belongs to"},
		{"exit", "node/a.go", `import "os"; func f() { os.Exit(1) }`, "os.Exit"},
		{"environment", "bridge/rest/a.go", `import "os"; var home = os.Getenv("HOME")`, "os.Getenv"},
		{"new folder", "util/a.go", ``, "no layer"},
		{"downwards", "bridge/rest/a.go", `import _ "` + module + `/connectors"`, ""},
		{"own folder", "bridge/rest/a.go", `import _ "` + module + `/bridge"`, ""},
		{"network in its place", "connectors/ipfs/a.go", `import _ "github.com/libp2p/go-libp2p/core/peer"`, ""},
		{"name begins alike", "jobs/a.go", `import _ "flagged"`, ""},
		{"flags of a test", "node/a_test.go", `import _ "flag"`, ""},
		{"exit of a program", "cmd/hypha-node/main.go", `import "os"; func main() { os.Exit(1) }`, ""},
		{"exit of a test", "dag/a_test.go", `import "os"; func f() { os.Exit(1) }`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file, err := parser.ParseFile(token.NewFileSet(), tc.file, "package a\n"+tc.source, 0)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Join(check(tc.file, file), "\n")
			if (tc.want == "") != (got == "") || !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want %q in it", got, tc.want)
			}
		})
	}
}

// check returns what is wrong with one file, whose slash-separated name is
// relative to the root of the module.
func check(name string, file *ast.File) []string {
	var problems []string
	report := func(format string, args ...any) {
		problems = append(problems, name+": "+fmt.Sprintf(format, args...))
	}
	dir := path.Dir(name)
	from := top(module + "/" + dir)
	if from != "." && layer(from) < 0 {
		report("folder %s has no layer", from)
	}
	for _, imp := range file.Imports {
		target, err := strconv.Unquote(imp.Path.Value)
		if err != nil {
			report("%v", err)
			continue
		}
		if to := top(target); to != "" && to != from && layer(to) >= layer(from) {
			report("%s may not import %s", from, to)
		}
		for pkg, homes := range confined() {
			if pkg == "flag" && strings.HasSuffix(name, "_test.go") {
				continue
			}
			if within(target, pkg) && !slices.ContainsFunc(homes, func(home string) bool { return within(dir, home) }) {
				report("%s belongs to %q", target, homes)
			}
		}
	}
	if from == "cmd" || from == "testground" || strings.HasSuffix(name, "_test.go") {
		return problems
	}
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "os" && slices.Contains(process(), sel.Sel.Name) {
			report("os.%s belongs to programs", sel.Sel.Name)
		}
		return true
	})
	return problems
}

// layer returns the row of a folder, -1 for one that has none.
func layer(folder string) int {
	return slices.IndexFunc(layers(), func(row []string) bool { return slices.Contains(row, folder) })
}

// top returns the top-level folder of a package of this module, "." for its
// root, and "" for packages of others.
func top(pkg string) string {
	rest, ok := strings.CutPrefix(pkg, module+"/")
	if !ok {
		return ""
	}
	folder, _, _ := strings.Cut(rest, "/")
	return folder
}

// within tells whether the slash-separated name is dir or lies below it.
func within(name, dir string) bool {
	return name == dir || strings.HasPrefix(name, dir+"/")
}
