package main

import (
	"slices"
	"strings"
	"testing"
)

func TestEditConfig(t *testing.T) {
	for _, tc := range []struct {
		name, text, key string
		values          []string
		want            string
	}{
		{"empty file", "", "log_level", []string{"info"}, "log_level = \"info\"\n"},
		{"no line end", `reserve = "1GiB"`, "log_level", []string{"info"}, "reserve = \"1GiB\"\nlog_level = \"info\"\n"},
		{"replace", "# a\nlog_level = 'debug' # b\n# c\n", "log_level", []string{"info"}, "# a\nlog_level = \"info\"\n# c\n"},
		{"remove", "log_level = \"info\"\nreserve = \"1GiB\"\n", "log_level", nil, "reserve = \"1GiB\"\n"},
		{"remove what is not there", "# a\n", "peers", nil, "# a\n"},
		{"list over lines", "listen = [\n  \"a\", # x\n  \"b\",\n]\nlog_level = \"info\"\n", "listen", []string{"c", "d"}, "listen = [\"c\", \"d\"]\nlog_level = \"info\"\n"},
		{"quoted key", "\"log_level\" = \"info\"\n", "log_level", []string{"warn"}, "log_level = \"warn\"\n"},
		{"indented", "  log_level=\"info\"\n", "log_level", []string{"warn"}, "log_level = \"warn\"\n"},
		{"a comment that looks like it", "# log_level = \"x\"\n", "log_level", []string{"warn"}, "# log_level = \"x\"\nlog_level = \"warn\"\n"},
		{"a value to be quoted", "", "hf_endpoint", []string{`http://x/"\`}, "hf_endpoint = \"http://x/\\\"\\\\\"\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := editConfig([]byte(tc.text), tc.key, tc.values)
			if err != nil || string(got) != tc.want {
				t.Errorf("%v\n%s\nwant\n%s", err, got, tc.want)
			}
		})
	}
}

func TestEditConfigRefuses(t *testing.T) {
	for _, tc := range []struct {
		name, text, key string
		values          []string
		want            string
	}{
		{"broken file", "listen = [", "log_level", []string{"info"}, "line 1"},
		{"unknown key in the file", "x = 1\n", "log_level", []string{"info"}, `unknown key "x"`},
		{"useless value", "", "http_allow", []string{"x"}, "no CIDR"},
		{"two values", "", "reserve", []string{"1", "2"}, "one value"},
		{"a bracket in a list", "listen = [\"a]\", \"b\"]\n", "listen", []string{"c"}, ""},
		{"the key inside a text", "peers = [\"\"\"\nlog_level = \"x\"\n\"\"\"]\n", "log_level", []string{"info"}, "by hand"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := editConfig([]byte(tc.text), tc.key, tc.values)
			if tc.want == "" {
				// Either it is right, or it says that it can't be done.
				if c, perr := parseConfig(got); err == nil && (perr != nil || !slices.Equal(c.Listen, tc.values)) {
					t.Errorf("%s, %v", got, perr)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v\n%s", err, got)
			}
		})
	}
}

// FuzzEditConfig: an edit changes its key and nothing else, or fails.
func FuzzEditConfig(f *testing.F) {
	f.Add("log_level = \"info\"\n", "log_level", "warn")
	f.Add("listen = [\n\"a\", # ]\n]\n", "listen", "b")
	f.Add("peers = '''\nlisten = [1]'''", "listen", "x")
	f.Fuzz(func(t *testing.T, text, key, value string) {
		if !slices.Contains(configKeys(), key) {
			return
		}
		got, err := editConfig([]byte(text), key, []string{value})
		if err != nil {
			return
		}
		before, err := parseConfig([]byte(text))
		if err != nil {
			t.Fatalf("an invalid file was edited: %v", err)
		}
		after, err := parseConfig(got)
		if err != nil {
			t.Fatalf("%q became invalid: %v", text, err)
		}
		for _, c := range []*fileConfig{&before, &after} {
			for name, list := range map[string]*[]string{"listen": &c.Listen, "bootstrap": &c.Bootstrap, "peers": &c.Peers, "http_allow": &c.HTTPAllow} {
				if name == key {
					*list = nil
				}
			}
			for name, text := range map[string]*string{"hf_endpoint": &c.HFEndpoint, "log_level": &c.LogLevel, "reserve": &c.Reserve} {
				if name == key {
					*text = ""
				}
			}
		}
		if !slices.Equal(before.Listen, after.Listen) || !slices.Equal(before.Peers, after.Peers) ||
			!slices.Equal(before.Bootstrap, after.Bootstrap) || !slices.Equal(before.HTTPAllow, after.HTTPAllow) ||
			before.HFEndpoint != after.HFEndpoint || before.LogLevel != after.LogLevel || before.Reserve != after.Reserve {
			t.Errorf("%q became %q", text, got)
		}
	})
}

func TestSettings(t *testing.T) {
	a := &app{file: fileConfig{LogLevel: "info", Reserve: "1GiB", Peers: []string{"file"}, HTTPAllow: []string{"10.1.2.3/8"}}}
	s, err := a.settings()
	if err != nil || s.LogLevel != "info" || s.reserve != 1<<30 || s.httpAllow[0].String() != "10.0.0.0/8" {
		t.Errorf("%+v, %v", s, err)
	}
	a.cli.LogLevel, a.cli.Reserve = "debug", "0"
	a.cli.Daemon.Peer, a.cli.Daemon.HTTPAllow = []string{"flag"}, []string{"::1"}
	s, err = a.settings()
	if err != nil || s.LogLevel != "debug" || s.reserve != -1 || s.Peers[0] != "flag" || s.httpAllow[0].String() != "::1/128" {
		t.Errorf("%+v, %v", s, err)
	}
}
