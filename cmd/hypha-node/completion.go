package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// completionCmd is `completion`.
type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help says where the script goes.
func (*completionCmd) Help() string {
	return `bash: hypha-node completion bash > ~/.local/share/bash-completion/completions/hypha-node

zsh: hypha-node completion zsh > a directory of $fpath, as _hypha-node

fish: hypha-node completion fish > ~/.config/fish/completions/hypha-node.fish`
}

// Run prints the script, made from the very model that parses command lines.
func (c *completionCmd) Run(k *kong.Kong, a *app) error {
	nodes := completions(k.Model.Node)
	script := map[string]func([]completion) string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}[c.Shell]
	return a.out.line("%s", script(nodes))
}

// completion is what may follow a command.
type completion struct {
	path  string // words that lead to it, "" for the program itself
	verbs []word // commands below it
	flags []word // with their dashes; short ones too
}

// word is a completion with its description.
type word struct {
	text, help string
	value      bool // a value follows
}

// completions returns what may follow each command.
func completions(root *kong.Node) []completion {
	var all []completion
	var walk func(n *kong.Node, path []string)
	walk = func(n *kong.Node, path []string) {
		c := completion{path: strings.Join(path, " ")}
		for _, child := range n.Children {
			if child.Type == kong.CommandNode && !child.Hidden {
				c.verbs = append(c.verbs, word{text: child.Name, help: child.Help})
			}
		}
		for _, group := range n.AllFlags(true) {
			for _, f := range group {
				c.flags = append(c.flags, word{"--" + f.Name, f.Help, !f.IsBool()})
				if f.Short != 0 {
					c.flags = append(c.flags, word{"-" + string(f.Short), f.Help, !f.IsBool()})
				}
			}
		}
		slices.SortFunc(c.flags, func(a, b word) int { return strings.Compare(a.text, b.text) })
		all = append(all, c)
		for _, child := range n.Children {
			if child.Type == kong.CommandNode && !child.Hidden {
				walk(child, append(slices.Clone(path), child.Name))
			}
		}
	}
	walk(root, nil)
	return all
}

// texts returns the words' texts.
func texts(words []word) string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = w.text
	}
	return strings.Join(list, " ")
}

// bashScript returns the script for bash: it finds the command among the words
// and offers its commands or flags, else files.
func bashScript(all []completion) string {
	var b strings.Builder
	b.WriteString("# bash completion for hypha-node\n_hypha_node() {\n")
	b.WriteString("\tlocal cur=${COMP_WORDS[COMP_CWORD]} path= word verbs flags\n")
	b.WriteString("\tfor word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n")
	b.WriteString("\t\tcase \"$path $word\" in\n")
	for _, c := range all {
		if c.path != "" {
			parent, last := "", c.path
			if i := strings.LastIndexByte(c.path, ' '); i >= 0 {
				parent, last = c.path[:i], c.path[i+1:]
			}
			fmt.Fprintf(&b, "\t\t%q) path=%q ;;\n", parent+" "+last, c.path)
		}
	}
	b.WriteString("\t\tesac\n\tdone\n\tcase \"$path\" in\n")
	for _, c := range all {
		fmt.Fprintf(&b, "\t%q) verbs=%q flags=%q ;;\n", c.path, texts(c.verbs), texts(c.flags))
	}
	b.WriteString("\tesac\n")
	b.WriteString("\tif [[ $cur == -* ]]; then COMPREPLY=($(compgen -W \"$flags\" -- \"$cur\"))\n")
	b.WriteString("\telif [[ -n $verbs ]]; then COMPREPLY=($(compgen -W \"$verbs\" -- \"$cur\"))\n")
	b.WriteString("\telse COMPREPLY=($(compgen -f -- \"$cur\")); fi\n}\n")
	b.WriteString("complete -o filenames -F _hypha_node hypha-node")
	return b.String()
}

// zshScript returns the script for zsh.
func zshScript(all []completion) string {
	var b strings.Builder
	b.WriteString("#compdef hypha-node\n_hypha-node() {\n\tlocal path_= word\n\tlocal -a verbs flags\n")
	b.WriteString("\tfor word in \"${(@)words[2,CURRENT-1]}\"; do\n\t\tcase \"$path_ $word\" in\n")
	for _, c := range all {
		if c.path != "" {
			pattern := c.path
			if !strings.Contains(pattern, " ") {
				pattern = " " + pattern
			}
			fmt.Fprintf(&b, "\t\t%s) path_=%s ;;\n", single(pattern), single(c.path))
		}
	}
	b.WriteString("\t\tesac\n\tdone\n\tcase \"$path_\" in\n")
	for _, c := range all {
		fmt.Fprintf(&b, "\t%s) verbs=(%s) flags=(%s) ;;\n", single(c.path), described(c.verbs), described(c.flags))
	}
	b.WriteString("\tesac\n\tif [[ $words[CURRENT] == -* ]]; then _describe flag flags\n")
	b.WriteString("\telif (( $#verbs )); then _describe command verbs\n\telse _files; fi\n}\n")
	b.WriteString("if [[ $funcstack[1] == _hypha-node ]]; then _hypha-node \"$@\"; else compdef _hypha-node hypha-node; fi")
	return b.String()
}

// described returns words with their help, as _describe takes them.
func described(words []word) string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = single(strings.ReplaceAll(w.text, ":", `\:`) + ":" + w.help)
	}
	return strings.Join(list, " ")
}

// fishScript returns the script for fish.
func fishScript(all []completion) string {
	var b strings.Builder
	b.WriteString("# fish completion for hypha-node\nfunction __hypha_node_at\n")
	b.WriteString("\tset -l path\n\tfor word in (commandline -opc)[2..-1]\n\t\tswitch \"$path $word\"\n\t\t\tcase")
	for _, c := range all {
		if c.path != "" {
			pattern := c.path
			if !strings.Contains(pattern, " ") {
				pattern = " " + pattern
			}
			b.WriteString(" " + single(pattern))
		}
	}
	b.WriteString("\n\t\t\t\tset path (string trim -- \"$path $word\")\n\t\tend\n\tend\n\ttest \"$path\" = \"$argv[1]\"\nend\n")
	for _, c := range all {
		at := "__hypha_node_at " + single(c.path)
		for _, v := range c.verbs {
			fmt.Fprintf(&b, "complete -c hypha-node -n %s -f -a %s -d %s\n", single(at), v.text, single(v.help))
		}
		for _, f := range c.flags {
			name, kind := strings.TrimLeft(f.text, "-"), "-l"
			if !strings.HasPrefix(f.text, "--") {
				kind = "-s"
			}
			needs := ""
			if f.value {
				needs = " -r"
			}
			fmt.Fprintf(&b, "complete -c hypha-node -n %s %s %s%s -d %s\n", single(at), kind, name, needs, single(f.help))
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// single quotes text for a shell.
func single(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
