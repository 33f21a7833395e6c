package hypha

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestFeatures fails when docs/features.md names a test that does not exist: what
// the page claims is shown by something.
func TestFeatures(t *testing.T) {
	page, err := os.ReadFile("docs/features.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`([a-z0-9/]+): (Test[A-Za-z0-9]+)`").FindAllStringSubmatch(string(page), -1)
	if len(named) < 60 {
		t.Errorf("the page names %d tests: it has another form than this test reads", len(named))
	}
	sources := map[string]string{} // folder => its tests
	for _, n := range named {
		folder, name := n[1], n[2]
		if _, ok := sources[folder]; !ok {
			sources[folder] = testsOf(t, folder)
		}
		if !strings.Contains(sources[folder], "\nfunc "+name+"(t *testing.T)") {
			t.Errorf("%s has no %s", folder, name)
		}
	}
}

// testsOf returns the text of all test files of a folder.
func testsOf(t *testing.T, folder string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(filepath.FromSlash(folder), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString("\n")
		all.Write(text)
	}
	return all.String()
}

// TestReadmeRound fails when the README's training is not the example, which
// testground/conformance runs: what people paste has to work.
func TestReadmeRound(t *testing.T) {
	page, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("examples/round.sh")
	if err != nil {
		t.Fatal(err)
	}
	_, body, ok := strings.Cut(string(script), "export PATH=")
	if !ok || !strings.Contains(string(page), body) {
		t.Error("README.md does not hold the commands of examples/round.sh")
	}
}
