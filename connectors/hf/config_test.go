package hf_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hypha-node/hypha-node/connectors/hf"
)

func TestConfigFromEnv(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("home/.cache/huggingface/token", "hf_home\n")
	write("home/tilde", "hf_tilde")
	write("xdg/huggingface/token", "hf_xdg")
	write("hfhome/token", "  hf_hfhome  ")
	write("path", "hf_path")
	write("huge", strings.Repeat("x", 10_000))
	write("empty", "")
	home := filepath.Join(dir, "home")
	tests := []struct {
		name string
		env  map[string]string
		home string
		want hf.Config
	}{
		{"nothing", nil, "", hf.Config{}},
		{"file in the home", nil, home, hf.Config{Token: "hf_home"}},
		{"XDG", map[string]string{"XDG_CACHE_HOME": dir + "/xdg"}, home, hf.Config{Token: "hf_xdg"}},
		{"HF_HOME before XDG", map[string]string{"XDG_CACHE_HOME": dir + "/xdg", "HF_HOME": dir + "/hfhome"}, home, hf.Config{Token: "hf_hfhome"}},
		{"HF_TOKEN_PATH before HF_HOME", map[string]string{"HF_TOKEN_PATH": dir + "/path", "HF_HOME": dir + "/hfhome"}, home, hf.Config{Token: "hf_path"}},
		{"tilde", map[string]string{"HF_TOKEN_PATH": "~/tilde"}, home, hf.Config{Token: "hf_tilde"}},
		{"old name before files", map[string]string{"HUGGING_FACE_HUB_TOKEN": "hf_old", "HF_TOKEN_PATH": dir + "/path"}, home, hf.Config{Token: "hf_old"}},
		{"HF_TOKEN before the old name", map[string]string{"HUGGING_FACE_HUB_TOKEN": "hf_old", "HF_TOKEN": " hf_new\n"}, home, hf.Config{Token: "hf_new"}},
		{"empty HF_TOKEN", map[string]string{"HF_TOKEN": ""}, home, hf.Config{Token: "hf_home"}},
		{"implicit token off", map[string]string{"HF_TOKEN": "hf_new", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}, home, hf.Config{}},
		{"implicit token not off", map[string]string{"HF_TOKEN": "hf_new", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0"}, home, hf.Config{Token: "hf_new"}},
		{"no such file", map[string]string{"HF_TOKEN_PATH": dir + "/none"}, home, hf.Config{}},
		{"a directory", map[string]string{"HF_TOKEN_PATH": dir}, home, hf.Config{}},
		{"a huge file", map[string]string{"HF_TOKEN_PATH": dir + "/huge"}, home, hf.Config{}},
		{"an empty file", map[string]string{"HF_TOKEN_PATH": dir + "/empty"}, home, hf.Config{}},
		{"endpoint", map[string]string{"HF_ENDPOINT": "https://hub.example/sub//"}, "", hf.Config{Endpoint: "https://hub.example/sub"}},
		{"offline", map[string]string{"HF_HUB_OFFLINE": "Yes"}, "", hf.Config{Offline: true}},
		{"offline by the other name", map[string]string{"TRANSFORMERS_OFFLINE": "on"}, "", hf.Config{Offline: true}},
		{"not offline", map[string]string{"HF_HUB_OFFLINE": "no"}, "", hf.Config{}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			lookup := func(name string) (string, bool) { value, ok := tt.env[name]; return value, ok }
			got := hf.ConfigFromEnv(lookup, tt.home)
			if got != tt.want {
				t.Errorf("config is %+v with token %q, want %+v", got, got.Token.Reveal(), tt.want)
			}
		})
	}
}
