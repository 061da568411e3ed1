// Command belltower is the whole service in one binary.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"syscall"
	_ "time/tzdata" // so that time zones are known on a machine without them

	"github.com/spf13/cobra"

	"github.com/belltower/belltower/internal/cli"
)

// Exit codes. Those of the commands that ask a service stand in internal/cli.
const (
	exitOK      = 0
	exitFailure = 1 // it was asked rightly and could not be done
	exitUsage   = 2 // a wrong flag, argument or setting
	exitFound   = 3 // it was done, and found something wrong
)

// gcPercent lets more garbage gather than Go's 100 % of what is in use, of which there is
// little: most of it stands in databases. Setting GOGC goes before it.
const gcPercent = 200

// On few processors goroutines run on more threads than there are processors, four for
// each, up to mostThreads: the system then shares the processors out among them every few
// milliseconds, and lets a request that has just come go first, where Go's own scheduler
// has it wait for all that are ready before. Setting GOMAXPROCS goes before it. Where a
// container may use less than the machine has, it stays as it is: more
// threads would use that up at once, and wait for the next period.
const mostThreads = 8

func threads(processors, allowed int) int {
	if allowed != processors {
		return allowed
	}
	return max(processors, min(4*processors, mostThreads))
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// Who asks a second time doesn't want to wait for the end in order.
	context.AfterFunc(ctx, stop)
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(threads(runtime.NumCPU(), runtime.GOMAXPROCS(0)))
	}
	code := run(ctx, os.Args[1:], os.Environ(), output{os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}

// output is where a command writes: what was asked for, and what it says about its work.
type output struct{ out, err io.Writer }

// run does what args ask for, with the environment env ("NAME=value"), until
// ctx ends, and gives the exit code.
func run(ctx context.Context, args, env []string, o output) int {
	root := rootCommand(env, o)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(o.err, "belltower:", err)
	code := exitCode(err)
	if !ran(root) {
		code = exitUsage
	}
	if code == exitUsage {
		fmt.Fprintln(o.err, "Run '"+cmd.CommandPath()+" --help' for what there is.")
	}
	return code
}

func exitCode(err error) int {
	var (
		wrong *usageError
		bad   *foundError
		coded *cli.Error
	)
	switch {
	case errors.As(err, &coded):
		return coded.Code
	case errors.As(err, &wrong):
		return exitUsage
	case errors.As(err, &bad):
		return exitFound
	}
	return exitFailure
}

// rootCommand has all commands.
func rootCommand(env []string, o output) *cobra.Command {
	root := &cobra.Command{
		Use:           "belltower",
		Short:         "Event scheduling whose reminders are never lost, and always explainable",
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(o.out)
	root.SetErr(o.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if !cmd.HasParent() {
			err = fmt.Errorf("%w: flags stand behind the command that they are for, as in 'belltower events list -q'", err)
		}
		return usage(err)
	})
	root.AddCommand(serveCommand(env, o), demoCommand(env, o), doctorCommand(env, o), auditCommand(env, o), replayCommand(env, o),
		configCommand(env, o), channelCommand(env, o), dkimCommand(env, o), storeCommand(env, o), keysCommand(env, o), versionCommand(o))
	clientCommands(root, env, o)
	root.AddCommand(bounceCommand(env, os.Stdin))
	return root
}

// ran tells whether the arguments named a command; where they don't, cobra has refused them.
func ran(root *cobra.Command) bool {
	for _, c := range root.Commands() {
		if c.CalledAs() != "" || ran(c) {
			return true
		}
	}
	return false
}

// usageError is a mistake in how belltower was called.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// foundError says what a check has found; the check itself went well.
type foundError struct{ err error }

func (e *foundError) Error() string { return e.err.Error() }
func (e *foundError) Unwrap() error { return e.err }

func found(err error) error { return &foundError{err} }

func usage(err error) error { return &usageError{err} }

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
