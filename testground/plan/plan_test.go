package plan

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"

	"github.com/hypha-node/hypha-node/testground/cases"
)

// manifest is what a test reads of manifest.toml.
type manifest struct {
	Testcases []struct {
		Name      string
		Instances struct{ Min, Max, Default int }
		Params    map[string]any
	}
}

// composition is what a test reads of a file of compositions.
type composition struct {
	Metadata struct{ Name string }
	Global   struct {
		Plan, Case     string
		TotalInstances int `toml:"total_instances"`
	}
	Groups []struct {
		Instances struct{ Count int }
		Run       struct {
			TestParams map[string]string `toml:"test_params"`
		}
	}
}

// decode reads a file of testground's.
func decode(t *testing.T, name string, v any) {
	t.Helper()
	if _, err := toml.DecodeFile(name, v); err != nil {
		t.Fatal(err)
	}
}

// TestManifest holds that testground is told of each case that the plan can play, with
// as many instances as it has.
func TestManifest(t *testing.T) {
	var m manifest
	decode(t, filepath.Join("..", "manifest.toml"), &m)
	machines := make(map[string]int)
	for _, c := range cases.Processes(cases.Real()) {
		machines[c.Name] = c.Machines()
	}
	told := make(map[string]int)
	for _, c := range m.Testcases {
		told[c.Name] = c.Instances.Default
		if c.Instances.Min > c.Instances.Default || c.Instances.Max < c.Instances.Default {
			t.Errorf("%s: %+v", c.Name, c.Instances)
		}
	}
	if !maps.Equal(told, machines) {
		t.Errorf("testground is told of\n%v, the plan plays\n%v", told, machines)
	}
	if plays := slices.Sorted(maps.Keys(Cases())); !slices.Equal(plays, slices.Sorted(maps.Keys(machines))) {
		t.Errorf("the plan plays %q", plays)
	}
}

// TestCompositions holds that there is a composition for each case, in the form in which
// a daemon takes it; `.ci/testground-upstream all` asks one.
func TestCompositions(t *testing.T) {
	for _, c := range cases.Processes(cases.Real()) {
		if c.Stock && c.Name != "baseline-bitswap" {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			var got composition
			decode(t, filepath.Join("..", "compositions", c.Name+".toml"), &got)
			if got.Metadata.Name != c.Name || got.Global.Case != c.Name || got.Global.Plan != "hypha" {
				t.Errorf("it is of %s, %s of plan %s", got.Metadata.Name, got.Global.Case, got.Global.Plan)
			}
			if len(got.Groups) != 1 || got.Groups[0].Instances.Count != c.Machines() || got.Global.TotalInstances != c.Machines() {
				t.Errorf("%d instances in %+v, want %d in one group", got.Global.TotalInstances, got.Groups, c.Machines())
			}
			if _, bound := got.Groups[0].Run.TestParams[paramBound]; bound != (len(c.Bad) > 0) {
				t.Errorf("parameters %v", got.Groups[0].Run.TestParams)
			}
		})
	}
	files, err := filepath.Glob(filepath.Join("..", "compositions", "*.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if _, ok := Cases()[strings.TrimSuffix(filepath.Base(name), ".toml")]; !ok {
			t.Errorf("%s is of no case", name)
		}
	}
}
