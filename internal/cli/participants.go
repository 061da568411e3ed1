package cli

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/belltower/belltower/internal/client"
)

// participant is one as the service shows it.
type participant struct {
	ID               string    `json:"id"`
	EventID          string    `json:"event_id"`
	UserID           string    `json:"user_id"`
	Name             string    `json:"name"`
	Email            string    `json:"email"`
	Phone            *string   `json:"phone"`
	Channels         []string  `json:"channels"`
	TimeZone         *string   `json:"time_zone"`
	Locale           *string   `json:"locale"`
	Response         string    `json:"response"`
	OptedOut         bool      `json:"opted_out"`
	Status           string    `json:"status"`
	WaitlistPosition *int      `json:"waitlist_position"`
	Revision         int64     `json:"revision"`
	CreatedAt        time.Time `json:"created_at"`
	UpdatedAt        time.Time `json:"updated_at"`
}

func (a *app) participants() *cobra.Command {
	return group("participants", "Register participants, import them from a file, change and look at them",
		a.listParticipants(), a.getParticipant(), a.addParticipant(), a.updateParticipant(), a.removeParticipant(), a.respond(), a.pushLink(), a.importParticipants())
}

// states say where a participant stands.
func (p participant) states() string {
	text := p.Status
	if p.WaitlistPosition != nil {
		text += fmt.Sprintf(" (%d)", *p.WaitlistPosition)
	}
	if p.OptedOut {
		text += ", opted out"
	}
	return text
}

func (a *app) participantDetails(p participant) (d details) {
	zone := machineZone(a.Env)
	d.add("id", p.ID)
	d.add("event", p.EventID)
	d.add("user", p.UserID)
	d.add("name", p.Name)
	d.add("email", p.Email)
	d.add("phone", value(p.Phone))
	d.add("channels", strings.Join(p.Channels, ", "))
	d.add("time zone", value(p.TimeZone))
	d.add("locale", value(p.Locale))
	d.add("response", p.Response)
	d.add("status", p.states())
	d.add("revision", fmt.Sprint(p.Revision))
	d.add("created", shownExactly(p.CreatedAt, zone))
	d.add("updated", shownExactly(p.UpdatedAt, zone))
	return d
}

func (a *app) listParticipants() *cobra.Command {
	var (
		f     filter
		limit int
		watch bool
	)
	cmd := &cobra.Command{
		Use:               "list EVENT",
		Short:             "List the participants of an event, in order of registration",
		Args:              takes("an event's id"),
		ValidArgsFunction: a.completeEvents,
	}
	f.choice(cmd, "status", "status", "of that status (waitlisted: in order of the line)", "confirmed", "waitlisted", "released")
	f.text(cmd.Flags(), "search", "q", "with all these words in name or e-mail address")
	limited(cmd, &limit)
	watched(cmd, &watch)
	past := pastOf(cmd)
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, args []string) error {
		query, err := f.query(cmd.Flags(), nil)
		if err == nil {
			err = past.into(a, query, watch)
		}
		if err != nil {
			return err
		}
		return a.andWatch(ctx, c, watch, client.Stream{EventID: args[0], Types: participantFacts}, func() error {
			return list(ctx, a, c, listing{
				path: one("/v1/events", args[0], "participants"), query: query, limit: limit, none: "There are no such participants.",
				table: columns("[ID]", "NAME", "EMAIL", "PHONE?", "RESPONSE?", "STATUS"),
			}, func(p participant) []string {
				return []string{p.ID, p.Name, p.Email, value(p.Phone), p.Response, p.states()}
			})
		})
	})
	return cmd
}

func (a *app) getParticipant() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "get PARTICIPANT",
		Short: "Show a participant, as it is or as it was",
		Args:  takes("a participant's id"),
	}
	past := pastOf(cmd)
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, args []string) error {
		document, err := getAsOf(ctx, a, c, one("/v1/participants", args[0]), past)
		if err != nil {
			return err
		}
		return show(a, document, a.participantDetails)
	})
	return cmd
}

// contactFields are the flags of what may be changed of a participant.
func contactFields(cmd *cobra.Command) *body {
	b := &body{}
	flags := cmd.Flags()
	b.text(flags, "name", "name", "what they are called")
	b.text(flags, "email", "email", "e-mail address")
	b.text(flags, "phone", "phone", "phone number, as +43 1 234 5678")
	b.texts(flags, "channel", "channels", "a channel that they are reached by: email, sms, push")
	b.text(flags, "time-zone", "time_zone", "where they are, as Europe/Vienna: times in messages are shown so")
	b.text(flags, "locale", "locale", "their language, as de-AT")
	b.text(flags, "push-token", "push_token", "token of their device")
	b.annotate(cmd)
	return b
}

func (a *app) addParticipant() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "add EVENT",
		Short:             "Register a participant; where the event is full, they wait in line",
		Example:           `  belltower participants add EVENT --user ann --name Ann --email ann@example.org`,
		Args:              takes("an event's id"),
		ValidArgsFunction: a.completeEvents,
	}
	fields := contactFields(cmd)
	fields.text(cmd.Flags(), "user", "user_id", "who they are to you: an id of yours")
	fields.annotate(cmd)
	key := keyed(cmd.Flags())
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, args []string) error {
		object, err := fields.json(cmd.Flags(), nil)
		if err != nil {
			return err
		}
		return writeAndShow(ctx, a, c, client.Request{
			Method: http.MethodPost, Path: one("/v1/events", args[0], "participants"), Body: object, Key: keyOr(*key),
		}, a.participantDetails)
	})
	return cmd
}

func (a *app) updateParticipant() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "update PARTICIPANT",
		Short: "Change how a participant is reached",
		Args:  takes("a participant's id"),
	}
	fields := contactFields(cmd)
	fields.clearable(cmd.Flags(), "phone", "channel", "time-zone", "locale", "push-token")
	revision := matching(cmd.Flags())
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, args []string) error {
		object, err := fields.json(cmd.Flags(), nil)
		if err != nil {
			return err
		}
		if len(object) == 0 {
			return usage("participants update: give at least one field to change")
		}
		return writeAndShow(ctx, a, c, client.Request{
			Method: http.MethodPatch, Path: one("/v1/participants", args[0]), Body: object, IfMatch: *revision,
		}, a.participantDetails)
	})
	return cmd
}

func (a *app) removeParticipant() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove PARTICIPANT",
		Short: "Remove a participant, and what is pending for them; the next in line moves up",
		Args:  takes("a participant's id"),
	}
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, args []string) error {
		if _, err := a.write(ctx, c, client.Request{Method: http.MethodDelete, Path: one("/v1/participants", args[0])}); err != nil {
			return err
		}
		return a.done("removed")
	})
	return cmd
}

func (a *app) respond() *cobra.Command {
	answers := []string{"accepted", "declined", "tentative"}
	cmd := &cobra.Command{
		Use:   "rsvp PARTICIPANT " + strings.Join(answers, "|"),
		Short: "Say whether a participant comes",
		Args:  takes("a participant's id", "a response ("+strings.Join(answers, ", ")+")"),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 1 {
				return answers, cobra.ShellCompDirectiveNoFileComp
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		},
	}
	key := keyed(cmd.Flags())
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, args []string) error {
		return writeAndShow(ctx, a, c, client.Request{
			Method: http.MethodPost, Path: one("/v1/participants", args[0], "rsvp"),
			Body: map[string]string{"response": strings.ToLower(args[1])}, Key: keyOr(*key),
		}, a.participantDetails)
	})
	return cmd
}

func (a *app) pushLink() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "push-link PARTICIPANT",
		Short: "Show the link by which a participant's browser subscribes to pushes; give it to nobody else",
		Args:  takes("a participant's id"),
	}
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, args []string) error {
		document, err := get(ctx, c, one("/v1/participants", args[0], "push-link"))
		if err != nil {
			return err
		}
		if a.json {
			return a.raw(document)
		}
		link, err := decode[struct {
			URL string `json:"url"`
		}](document)
		if err != nil {
			return err
		}
		return a.raw([]byte(link.URL))
	})
	return cmd
}
