package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/belltower/belltower/internal/client"
)

// reminder is one as the service shows it.
type reminder struct {
	ID            string   `json:"id"`
	EventID       string   `json:"event_id"`
	MinutesBefore int      `json:"minutes_before"`
	Channels      []string `json:"channels"`
	Message       string   `json:"message"`
	Revision      int64    `json:"revision"`
}

func (r reminder) channels() string {
	if len(r.Channels) == 0 {
		return "each one's own"
	}
	return strings.Join(r.Channels, ", ")
}

func reminderDetails(r reminder) (d details) {
	d.add("id", r.ID)
	d.add("event", r.EventID)
	d.add("due", span(r.MinutesBefore))
	d.add("channels", r.channels())
	d.add("message", r.Message)
	return d
}

func (a *app) reminders() *cobra.Command {
	return group("reminders", "Say when participants are reminded of an event", a.listReminders(), a.addReminder(), a.removeReminder())
}

func (a *app) listReminders() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:               "list EVENT",
		Short:             "List the reminders of an event",
		Args:              takes("an event's id"),
		ValidArgsFunction: a.completeEvents,
	}
	watched(cmd, &watch)
	past := pastOf(cmd)
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, args []string) error {
		query := url.Values{}
		if err := past.into(a, query, watch); err != nil {
			return err
		}
		return a.andWatch(ctx, c, watch, client.Stream{EventID: args[0], Types: reminderFacts}, func() error {
			return list(ctx, a, c, listing{
				path: one("/v1/events", args[0], "reminders"), query: query, none: "There are no reminders.",
				table: columns("[ID]", "[DUE]", "CHANNELS?", "MESSAGE"),
			}, func(r reminder) []string { return []string{r.ID, span(r.MinutesBefore), r.channels(), r.Message} })
		})
	})
	return cmd
}

func (a *app) addReminder() *cobra.Command {
	var before string
	cmd := &cobra.Command{
		Use:               "add EVENT",
		Short:             "Remind participants of an event, those of now and those to come",
		Example:           `  belltower reminders add EVENT --before 1d --channel email`,
		Args:              takes("an event's id"),
		ValidArgsFunction: a.completeEvents,
	}
	fields := &body{}
	cmd.Flags().StringVar(&before, "before", "", "how long before the start: 90m, 2h, 1d; a bare number is of minutes (default: 60m)")
	fields.add("before", "minutes_before", func(readTime) (any, error) {
		if minutes, err := strconv.Atoi(before); err == nil {
			return minutes, nil
		}
		d, err := parseSpan(before)
		if err != nil {
			return nil, err
		}
		if d%time.Minute != 0 {
			return nil, fmt.Errorf("%q is no whole number of minutes", before)
		}
		return int(d / time.Minute), nil
	})
	fields.texts(cmd.Flags(), "channel", "channels", "a channel to remind by (default: each participant's own, else email)")
	fields.text(cmd.Flags(), "message", "message", "what it says; a Liquid template")
	fields.annotate(cmd)
	key := keyed(cmd.Flags())
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, args []string) error {
		object, err := fields.json(cmd.Flags(), nil)
		if err != nil {
			return err
		}
		return writeAndShow(ctx, a, c, client.Request{
			Method: http.MethodPost, Path: one("/v1/events", args[0], "reminders"), Body: object, Key: keyOr(*key),
		}, reminderDetails)
	})
	return cmd
}

func (a *app) removeReminder() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove EVENT REMINDER",
		Short: "Take a reminder back, and what is pending for it",
		Args:  takes("an event's id", "a reminder's id"),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			if len(args) != 1 {
				return a.completeEvents(cmd, args, typed)
			}
			return ids(a, one("/v1/events", args[0], "reminders"), nil, func(r reminder) (string, string) {
				return r.ID, span(r.MinutesBefore)
			})
		},
	}
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, args []string) error {
		if _, err := a.write(ctx, c, client.Request{Method: http.MethodDelete, Path: one("/v1/events", args[0], "reminders", args[1])}); err != nil {
			return err
		}
		return a.done("removed")
	})
	return cmd
}

func (a *app) announce() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "announce EVENT",
		Short: "Send a message to the participants of an event, now or later",
		Example: `  belltower announce EVENT --message '{{ participant.name }}, please bring soft shoes.'
  belltower announce EVENT --message 'Only two more sleeps' --send-at "tomorrow 09:00" --status confirmed`,
		Args:              takes("an event's id"),
		ValidArgsFunction: a.completeEvents,
	}
	fields, audience := &body{}, &body{}
	fields.text(cmd.Flags(), "message", "message", "what it says; a Liquid template")
	fields.time(cmd.Flags(), "send-at", "send_at", "when (default: now): "+timeHelp)
	fields.texts(cmd.Flags(), "channel", "channels", "a channel to send by (default: each participant's own, else email)")
	audience.texts(cmd.Flags(), "status", "status", "only to those of this status: confirmed, waitlisted, released")
	audience.texts(cmd.Flags(), "response", "response", "only to those of this response: needs_action, accepted, declined, tentative")
	fields.annotate(cmd)
	audience.annotate(cmd, "audience")
	complete(cmd, "status", "confirmed", "waitlisted", "released")
	complete(cmd, "response", "needs_action", "accepted", "declined", "tentative")
	key := keyed(cmd.Flags())
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, args []string) error {
		object, err := fields.json(cmd.Flags(), a.localTime)
		if err != nil {
			return err
		}
		to, err := audience.json(cmd.Flags(), nil)
		if err != nil {
			return err
		}
		if len(to) > 0 {
			object["audience"] = to
		}
		return writeAndShow(ctx, a, c, client.Request{
			Method: http.MethodPost, Path: one("/v1/events", args[0], "announcements"), Body: object, Key: keyOr(*key),
		}, func(v struct {
			ID         string `json:"id"`
			Recipients int    `json:"recipients"`
		}) (d details) {
			d.add("announcement", v.ID)
			d.add("recipients", fmt.Sprint(v.Recipients))
			return d
		})
	})
	return cmd
}
