// Command bench measures Belltower beside its peers. It starts what it needs,
// on this machine; see README.md in the folder above.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/belltower/belltower/bench/internal/bare"
	"github.com/belltower/belltower/bench/internal/lab"
	"github.com/belltower/belltower/bench/internal/measure"
	"github.com/belltower/belltower/bench/internal/suites"
)

func main() {
	bare.ServeIfAsked()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch wrong := (*usageError)(nil); {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.As(err, &wrong):
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// usageError is a mistake in how bench was called.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// options are the flags that all suites have.
type options struct {
	rounds int
	short  bool
	json   string
	binary string
}

func (o *options) register(flags *flag.FlagSet) {
	flags.IntVar(&o.rounds, "rounds", 3, "how often everything is measured")
	flags.BoolVar(&o.short, "short", false, "so small that it only shows that the suite works")
	flags.StringVar(&o.json, "json", "", "file that the result is written to as JSON (default: standard output, behind the table)")
	flags.StringVar(&o.binary, "binary", "", "the built service (default: it is built from this tree)")
}

// run runs the suite that args name, or all of them.
func run(ctx context.Context, args []string, out, progress io.Writer) error {
	if len(args) == 0 || args[0] == "-h" || args[0] == "--help" || args[0] == "help" {
		usage(out)
		return flag.ErrHelp
	}
	chosen := suites.All
	if args[0] != "all" {
		s, err := suites.Find(args[0])
		if err != nil {
			return &usageError{fmt.Errorf("%w; bench help lists them", err)}
		}
		chosen = []suites.Suite{s}
	}
	var results []measure.Result
	for _, s := range chosen {
		o, r, err := runSuite(ctx, s, args[1:], len(chosen) == 1, out, progress)
		if err != nil {
			return err
		}
		results = append(results, r)
		if err := write(o.json, results, out, s.Name == chosen[len(chosen)-1].Name); err != nil {
			return err
		}
	}
	return nil
}

func usage(out io.Writer) {
	text := "usage: bench SUITE|all [flags]; bench SUITE -h has the suite's sizes\n\n"
	for _, s := range suites.All {
		text += fmt.Sprintf("  %-10s %s\n", s.Name, s.About)
	}
	_, _ = io.WriteString(out, text) // to people: where nobody reads it, nobody can be told
}

// runSuite runs one suite in a lab of its own. Sizes can be given where it is the only one.
func runSuite(ctx context.Context, s suites.Suite, args []string, sized bool, out, progress io.Writer) (o options, r measure.Result, err error) {
	flags := flag.NewFlagSet("bench "+s.Name, flag.ContinueOnError)
	flags.SetOutput(progress)
	o.register(flags)
	sizes := flags
	if !sized {
		sizes = flag.NewFlagSet(s.Name, flag.ContinueOnError)
	}
	z := suites.NewSizes(sizes)
	begin := s.Sizes(z)
	if err := flags.Parse(args); err != nil {
		return o, r, &usageError{err}
	}
	switch {
	case flags.NArg() > 0:
		return o, r, &usageError{fmt.Errorf("%q is too much: a suite takes flags only", flags.Arg(0))}
	case o.rounds < 1:
		return o, r, &usageError{errors.New("-rounds: must be at least 1")}
	}
	if o.short {
		if err := z.Shorten(); err != nil {
			return o, r, err
		}
	}
	if err := z.Check(); err != nil {
		return o, r, &usageError{err}
	}
	began := time.Now()
	l, err := lab.New(o.binary, func(format string, args ...any) {
		fmt.Fprintln(progress, fmt.Sprintf("%8s  %s: ", time.Since(began).Round(100*time.Millisecond), s.Name)+fmt.Sprintf(format, args...))
	})
	if err != nil {
		return o, r, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if r, err = suites.Run(ctx, l, s, z, begin, o.rounds); err != nil {
		return o, r, err
	}
	return o, r, r.Table(out)
}

// write writes the results so far to the file, or the whole of them to out at the end.
func write(path string, results []measure.Result, out io.Writer, last bool) error {
	text, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return fmt.Errorf("write the results: %w", err)
	}
	text = append(text, '\n')
	if path != "" {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			return fmt.Errorf("-json: %w", err)
		}
		return nil
	}
	if last {
		_, err = out.Write(append([]byte{'\n'}, text...))
	}
	return err
}
