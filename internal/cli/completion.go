package cli

import (
	"net/url"
	"slices"
	"time"

	"context"

	"github.com/spf13/cobra"

	"github.com/belltower/belltower/internal/client"
)

// completionTime bounds how long a shell waits for what it may suggest.
const completionTime = 3 * time.Second

// completionSize bounds how many ids a shell is told.
const completionSize = 100

// completer suggests what an argument may be.
type completer = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// complete gives a flag the words that it takes.
func complete(cmd *cobra.Command, flag string, words ...string) {
	completeWith(cmd, flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// completeWith suggests for a flag what c finds.
func completeWith(cmd *cobra.Command, flag string, c completer) {
	if err := cmd.RegisterFlagCompletionFunc(flag, c); err != nil {
		panic(err) // the flag isn't there, or has one already: a mistake in the code
	}
}

// ids suggests the ids of a list, with what each is.
func ids[T any](a *app, path string, query url.Values, describe func(T) (id, description string)) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(context.Background(), completionTime)
	defer cancel()
	c, err := a.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer client.CloseIdle()
	c.Patience = 0
	var found []string
	for item, err := range c.List(ctx, path, query, completionSize) {
		if err != nil { // who presses Tab wants a suggestion or none, and no message
			break
		}
		if v, err := decode[T](item); err == nil {
			id, description := describe(v)
			found = append(found, cobra.CompletionWithDesc(id, clean(description)))
		}
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

// completeEvents suggests ids of events to come, for the first argument or a flag.
func (a *app) completeEvents(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return ids(a, "/v1/events", url.Values{"from": {time.Now().Add(-24 * time.Hour).UTC().Format(time.RFC3339)}}, func(e event) (string, string) {
		return e.ID, e.Title + ", " + shown(e.StartTime, zoneOf(e.TimeZone))
	})
}

// completeNotifications suggests those in one of some states.
func (a *app) completeNotifications(states ...string) completer {
	return func(_ *cobra.Command, args []string, _ string) (found []string, directive cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		for _, state := range states {
			more, _ := ids(a, "/v1/notifications", url.Values{"status": {state}}, func(n notification) (string, string) {
				return n.ID, n.Status + ", " + n.Channel + ", " + shown(n.ScheduledTime, machineZone(a.Env))
			})
			found = slices.Concat(found, more)
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}
