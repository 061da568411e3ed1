// Package cli is Belltower's command line as a client of a running service.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/belltower/belltower/internal/client"
	"github.com/belltower/belltower/internal/terminal"
)

// Exit codes of these commands, beside 0 for what is done and 1 for what could not be.
const (
	ExitUsage       = 2 // a wrong flag or argument
	ExitRefused     = 4 // the service said no
	ExitUnreachable = 5 // there is no service, or it can't answer now: trying again may help
	ExitPartly      = 6 // some of it was done; what failed has been named
)

// Error is an error with the exit code that it ends in.
type Error struct {
	Code int
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

// ExitCode is the code to end with.
func (e *Error) ExitCode() int { return e.Code }

func usage(format string, args ...any) error {
	return &Error{ExitUsage, fmt.Errorf(format, args...)}
}

// Local is a service on this machine, as its settings in this place have it.
type Local struct {
	URL       string
	TokenFile string // of the token that it has made; it need not be there
}

// Options are what the commands need of the world.
type Options struct {
	Env      map[string]string
	In       io.Reader
	Out, Err io.Writer
	Local    func() (Local, error)
}

// Commands are the commands that ask a service.
func Commands(o Options) []*cobra.Command {
	app := &app{Options: o, in: screenOf(o.In), out: screenOf(o.Out).coloured(o.Env), err: screenOf(o.Err)}
	app.Err = &terminal.Lines{Out: o.Err}
	all := []*cobra.Command{
		app.events(), app.participants(), app.reminders(), app.notifications(),
		app.announce(), app.suppressions(), app.processor(), app.stats(), app.watch(),
	}
	for _, cmd := range all {
		cmd.GroupID = GroupID
		app.connect(cmd)
	}
	return all
}

// GroupID is the group that these commands stand in.
const GroupID = "client"

// app is one run of the command line.
type app struct {
	Options
	connection Connection
	json       bool
	quiet      bool
	in         screen
	out        screen
	err        screen
}

// group is a command that only has commands below it.
func group(use, short string, below ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			hint := ""
			if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
				hint = fmt.Sprintf("; did you mean %s?", strings.Join(like, " or "))
			}
			return usage("%s has no command %q%s", cmd.Name(), args[0], hint)
		},
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SuggestionsMinimumDistance: 2,
	}
	cmd.AddCommand(below...)
	return cmd
}

// takes refuses another number of arguments than there are names, by these names.
func takes(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == len(names):
			// What a script leaves empty by mistake must not mean all of them.
			if i := slices.Index(args, ""); i >= 0 {
				return usage("%s takes %s, and it is empty", cmd.CommandPath(), names[i])
			}
			return nil
		case len(names) == 0:
			return usage("%s takes no arguments, and was given %q", cmd.CommandPath(), args[0])
		}
		return usage("%s takes %s, and was given %d arguments", cmd.CommandPath(), strings.Join(names, " and "), len(args))
	}
}

// does makes the body of a command of what it asks.
func (a *app) does(what func(ctx context.Context, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if f := cmd.Flags().Lookup("event"); f != nil && f.Changed && f.Value.String() == "" {
			return usage("--event: it is empty")
		}
		if a.json && a.quiet {
			return usage("--json and --quiet ask for two things: give one")
		}
		c, err := a.client()
		if err != nil {
			return err
		}
		defer client.CloseIdle()
		return Explained(cmd, what(cmd.Context(), c, args))
	}
}

// Explained gives err, of a client's, its exit code, and says it as people read it.
func Explained(cmd *cobra.Command, err error) error {
	var (
		coded       *Error
		problem     *client.Problem
		unreachable *client.Unreachable
	)
	switch {
	case err == nil, errors.As(err, &coded):
		return err
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	case errors.As(err, &problem):
		code := ExitRefused
		if problem.Status >= 500 || problem.Temporary() {
			code = ExitUnreachable
		}
		return &Error{code, told(cmd, problem)}
	case errors.As(err, &unreachable):
		return &Error{ExitUnreachable, fmt.Errorf("%w\n  Is 'belltower serve' running there? --url or %s names another address", err, urlVariable)}
	}
	return err
}
