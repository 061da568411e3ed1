package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/belltower/belltower/internal/client"
)

// eventFields are the flags of an event's own fields.
func eventFields(cmd *cobra.Command) *body {
	b := &body{}
	flags := cmd.Flags()
	b.text(flags, "title", "title", "what it is called")
	b.text(flags, "description", "description", "what it is about")
	b.time(flags, "start", "start_time", "when it starts: "+timeHelp)
	b.time(flags, "end", "end_time", "when it ends, likewise; or give --duration")
	b.text(flags, "time-zone", "time_zone", "where it takes place, as Europe/Vienna: times without an offset are read there")
	b.text(flags, "location", "location", "where that is, for people")
	b.number(flags, "capacity", "capacity", "how many seats there are (default: no end of them)")
	b.texts(flags, "tag", "tags", "a tag")
	b.text(flags, "creator", "creator_id", "whose event it is (default: who owns the token)")
	b.annotate(cmd)
	return b
}

// duration is the other way to say when an event ends.
type duration struct{ text string }

func (d *duration) register(flags *pflag.FlagSet) {
	flags.StringVar(&d.text, "duration", "", "how long it takes, in place of --end: 90m, 2h, 1d12h")
}

// apply sets the end of an event whose start has been set.
func (d *duration) apply(flags *pflag.FlagSet, object map[string]any) error {
	if !flags.Changed("duration") {
		return nil
	}
	if flags.Changed("end") {
		return usage("--duration and --end say the same thing: give one")
	}
	span, err := parseSpan(d.text)
	if err != nil {
		return usage("--duration: %w", err)
	}
	text, given := object["start_time"].(string)
	if !given {
		return usage("--duration: give --start as well, which it counts from")
	}
	start, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return err
	}
	object["end_time"] = start.Add(span).UTC().Format(time.RFC3339Nano)
	return nil
}

// keyed gives a command the flag that makes it safe to run again.
func keyed(flags *pflag.FlagSet) *string {
	return flags.String("key", "", "an Idempotency-Key: the same command with the same key again does nothing more")
}

// keyOr is the key that was given, else one of its own, with which the command
// itself may try again.
func keyOr(given string) string {
	if given != "" {
		return given
	}
	return "cli-" + uuid.NewString()
}

// zoned reads times of day in the zone that --time-zone names; without it, in
// that of otherwise, where that knows one.
func zoned(flags *pflag.FlagSet, otherwise func() (*time.Location, error)) readTime {
	return func(text string) (time.Time, error) {
		var zone *time.Location
		if name, err := flags.GetString("time-zone"); err == nil && name != "" {
			// One that isn't known is for the service to refuse, with all else.
			zone = zoneOf(name)
		}
		t, err := parseTime(text, time.Now(), zone)
		if errors.Is(err, errNeedsZone) && otherwise != nil {
			if zone, err = otherwise(); err != nil {
				return time.Time{}, err
			}
			return parseTime(text, time.Now(), zone)
		}
		return t, err
	}
}

func (a *app) createEvent() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Schedule an event",
		Example: `  belltower events create --title "Bell-ringing course" --description Rounds \
    --start "2027-06-01 18:00" --duration 2h --time-zone Europe/Vienna`,
		Args: takes(),
	}
	fields, length := eventFields(cmd), &duration{}
	length.register(cmd.Flags())
	key := keyed(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		object, err := fields.json(cmd.Flags(), zoned(cmd.Flags(), nil))
		if err == nil {
			err = length.apply(cmd.Flags(), object)
		}
		if err != nil {
			return err
		}
		return a.does(func(ctx context.Context, c *client.Client, _ []string) error {
			return writeAndShow(ctx, a, c, client.Request{Method: http.MethodPost, Path: "/v1/events", Body: object, Key: keyOr(*key)}, eventDetails)
		})(cmd, args)
	}
	return cmd
}

func (a *app) updateEvent() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "update EVENT",
		Short:             "Change an event; its reminders move with it",
		Long:              "Changes what is given and leaves the rest. Times without an offset are of --time-zone,\nelse of the event's own time zone.",
		Args:              takes("an event's id"),
		ValidArgsFunction: a.completeEvents,
	}
	fields, length := eventFields(cmd), &duration{}
	length.register(cmd.Flags())
	fields.clearable(cmd.Flags(), "location", "capacity", "tag", "time-zone")
	fields.text(cmd.Flags(), "notify", "notify", "a message to those who are confirmed, sent with the change; a Liquid template")
	fields.annotate(cmd)
	revision := matching(cmd.Flags())
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, args []string) error {
		path := one("/v1/events", args[0])
		object, err := fields.json(cmd.Flags(), zoned(cmd.Flags(), func() (*time.Location, error) {
			document, err := get(ctx, c, path)
			if err != nil {
				return nil, err
			}
			e, err := decode[event](document)
			return zoneOf(e.TimeZone), err
		}))
		if err == nil {
			err = length.apply(cmd.Flags(), object)
		}
		if err != nil {
			return err
		}
		if len(object) == 0 {
			return usage("events update: give at least one field to change")
		}
		return writeAndShow(ctx, a, c, client.Request{Method: http.MethodPatch, Path: path, Body: object, IfMatch: *revision}, eventDetails)
	})
	return cmd
}

// matching gives a command the flag that refuses what was changed meanwhile.
func matching(flags *pflag.FlagSet) *string {
	return flags.String("if-match", "", "only if nothing of its own has changed since this revision")
}

func (a *app) cancelEvent() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "cancel EVENT",
		Short:             "Cancel an event, and what is pending for it",
		Args:              takes("an event's id"),
		ValidArgsFunction: a.completeEvents,
	}
	fields := &body{}
	fields.text(cmd.Flags(), "reason", "reason", "why")
	fields.text(cmd.Flags(), "notify", "notify", "a message to those who are confirmed, sent with the change; a Liquid template")
	fields.annotate(cmd)
	key, revision := keyed(cmd.Flags()), matching(cmd.Flags())
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, args []string) error {
		object, err := fields.json(cmd.Flags(), nil)
		if err != nil {
			return err
		}
		return writeAndShow(ctx, a, c, client.Request{
			Method: http.MethodPost, Path: one("/v1/events", args[0], "cancel"), Body: object, Key: keyOr(*key), IfMatch: *revision,
		}, eventDetails)
	})
	return cmd
}

func (a *app) deleteEvent() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:               "delete EVENT",
		Short:             "Delete an event, its participants and its notifications",
		Long:              "Deletes an event, its participants and its notifications. Nothing pending is sent, and\nit can't be taken back; 'events cancel' keeps what there was. On a terminal it asks first.",
		Args:              takes("an event's id"),
		ValidArgsFunction: a.completeEvents,
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "don't ask")
	revision := matching(cmd.Flags())
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, args []string) error {
		path := one("/v1/events", args[0])
		if !yes {
			document, err := get(ctx, c, path)
			if err != nil {
				return err
			}
			e, err := decode[event](document)
			if err != nil {
				return err
			}
			if err := a.confirm(fmt.Sprintf("Delete %q and its %d participants?", clean(e.Title), e.ParticipantCount)); err != nil {
				return err
			}
		}
		if _, err := a.write(ctx, c, client.Request{Method: http.MethodDelete, Path: path, IfMatch: *revision}); err != nil {
			return err
		}
		return a.done("deleted")
	})
	return cmd
}

// done says that something without an answer of its own is done; programs see
// that by the exit code.
func (a *app) done(what string) error {
	if !a.json && !a.quiet {
		a.say("%s\n", what)
	}
	return nil
}

// confirm asks on a terminal; elsewhere --yes is needed.
func (a *app) confirm(question string) error {
	if !a.in.there() || !a.err.there() {
		return usage("%s There is no terminal to ask on: say --yes", question)
	}
	a.note("%s [y/N] ", question)
	answer, err := bufio.NewReader(a.In).ReadString('\n')
	if err != nil && answer == "" {
		a.note("\n")
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("not done, as it wasn't confirmed")
}
