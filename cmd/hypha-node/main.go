package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

func main() {
	launch()
	os.Exit(run(os.Args[1:]))
}

// run runs one command line and returns its exit code.
func run(args []string) int {
	a := &app{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr}
	// A reader that goes away is an error of the write, not the end of this
	// process: what is open is closed.
	pipes := make(chan os.Signal, 1)
	signal.Notify(pipes, syscall.SIGPIPE)
	defer signal.Stop(pipes)

	if len(args) == 0 {
		return a.report(a.welcome())
	}
	parser, err := newParser(&a.cli)
	if err != nil {
		return a.report(err)
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return a.report(usage(parsed, err))
	}
	ctx, stop := a.untilSignal()
	defer stop()
	if err := a.setUp(parsed); err != nil {
		return a.report(err)
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	err = parsed.Run(a)
	if err == nil {
		err = a.out.flush()
	}
	return a.report(because(ctx, err))
}

// newParser returns the parser of the command line.
func newParser(grammar *cli) (*kong.Kong, error) {
	return kong.New(grammar,
		kong.Name("hypha-node"),
		kong.Description("Gets models and datasets into the work directories of jobs: fetched once, verified always, shared by content."),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 100}),
		kong.ExplicitGroups([]kong.Group{
			{Key: "content", Title: "Content:"},
			{Key: "node", Title: "Node and network:"},
			{Key: "job", Title: "Jobs:"},
			{Key: "keep", Title: "Housekeeping:"},
			{Key: "other", Title: "This program:"},
		}),
	)
}

// usage makes an error of the command line one that says how to go on.
func usage(parsed *kong.Context, err error) error {
	e := &failure{code: exitUsage, err: err, hint: "see `hypha-node --help`"}
	if pe, ok := errors.AsType[*kong.ParseError](err); ok {
		parsed = pe.Context
	}
	if parsed != nil && parsed.Selected() != nil {
		e.hint = "see `" + parsed.Selected().FullPath() + " --help`"
	}
	return e
}

// signalled is the cause of a context that a signal ended.
type signalled struct{ os.Signal }

// Error names the signal.
func (s signalled) Error() string { return s.String() }

// untilSignal returns a context that ends with SIGINT or SIGTERM. After the
// first signal the next one ends the process at once.
func (a *app) untilSignal() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case s := <-signals:
			signal.Stop(signals) // the default, which ends the process, is back
			cancel(signalled{s})
		case <-done:
		}
	}()
	return ctx, func() {
		close(done)
		<-ended
		signal.Stop(signals)
		cancel(nil)
	}
}

// because returns the signal that ended ctx in the place of an error that says
// no more than that something was cancelled.
func because(ctx context.Context, err error) error {
	if s, ok := errors.AsType[signalled](context.Cause(ctx)); ok && errors.Is(err, context.Canceled) {
		return s
	}
	return err
}

// welcome prints what the program is for.
func (a *app) welcome() error {
	_, err := io.WriteString(a.stdout, `hypha-node gets models and datasets into the work directories of jobs:
fetched once, verified always, shared by content.

  hypha-node fetch hf://openai-community/gpt2/config.json -o models
  hypha-node fetch https://example.org/data.tar
  hypha-node add results/            a directory into the store; prints its CID
  hypha-node get CID -o copy         out of the store, verified
  hypha-node cat CID/path | head

  hypha-node daemon                  take part in the network, serve jobs
  hypha-node job run --ref hf://openai-community/gpt2/config.json -- ls -l artifacts

Everything lives in ~/.hypha (--repo DIR, HYPHA_REPO).
`+"`hypha-node --help` lists all commands, `hypha-node COMMAND --help` explains one.\n")
	return err
}

// report prints an error and returns the exit code.
func (a *app) report(err error) int {
	f := classify(err)
	if f == nil {
		return exitDone
	}
	if !f.quiet {
		fmt.Fprintf(a.stderr, "error: %s\n", escapeLines(f.err.Error()))
		if f.hint != "" {
			fmt.Fprintf(a.stderr, "hint: %s\n", escapeLines(f.hint))
		}
	}
	return f.code
}
