package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/belltower/belltower/internal/client"
)

// event is one as the service shows it.
type event struct {
	ID               string    `json:"id"`
	Title            string    `json:"title"`
	Description      string    `json:"description"`
	StartTime        time.Time `json:"start_time"`
	EndTime          time.Time `json:"end_time"`
	TimeZone         string    `json:"time_zone"`
	Location         *string   `json:"location"`
	CreatorID        string    `json:"creator_id"`
	Capacity         *int      `json:"capacity"`
	Tags             []string  `json:"tags"`
	Status           string    `json:"status"`
	ParticipantCount int       `json:"participant_count"`
	Revision         int64     `json:"revision"`
	CreatedAt        time.Time `json:"created_at"`
	UpdatedAt        time.Time `json:"updated_at"`
}

func (a *app) events() *cobra.Command {
	return group("events", "Schedule events, change and look at them",
		a.listEvents(), a.getEvent(), a.createEvent(), a.updateEvent(), a.cancelEvent(), a.deleteEvent(), a.eventHistory())
}

func eventDetails(e event) (d details) {
	zone := zoneOf(e.TimeZone)
	d.add("id", e.ID)
	d.add("title", e.Title)
	d.add("description", e.Description)
	d.add("status", e.Status)
	d.add("starts", shown(e.StartTime, zone))
	d.add("ends", shown(e.EndTime, zone))
	d.add("time zone", e.TimeZone)
	d.add("location", value(e.Location))
	d.add("capacity", value(e.Capacity))
	d.add("participants", fmt.Sprint(e.ParticipantCount))
	d.add("tags", strings.Join(e.Tags, ", "))
	d.add("creator", e.CreatorID)
	d.add("revision", fmt.Sprint(e.Revision))
	d.add("created", shownExactly(e.CreatedAt, zone))
	d.add("updated", shownExactly(e.UpdatedAt, zone))
	return d
}

func (a *app) listEvents() *cobra.Command {
	var (
		f     filter
		limit int
		watch bool
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List events, in order of their start",
		Args:  takes(),
	}
	f.choice(cmd, "status", "status", "of that status", "scheduled", "cancelled")
	f.time(cmd.Flags(), "from", "from", "that end after this time")
	f.time(cmd.Flags(), "to", "to", "that start before this time")
	f.text(cmd.Flags(), "search", "q", "with all these words in title, description or location")
	f.text(cmd.Flags(), "tag", "tag", "with that tag")
	f.text(cmd.Flags(), "creator", "creator_id", "that this one has scheduled")
	f.text(cmd.Flags(), "user", "user_id", "that this user takes part in")
	limited(cmd, &limit)
	watched(cmd, &watch)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		query, err := f.query(cmd.Flags(), a.localTime)
		if err != nil {
			return err
		}
		return a.does(func(ctx context.Context, c *client.Client, _ []string) error {
			print := func() error {
				return list(ctx, a, c, listing{
					path: "/v1/events", query: query, limit: limit, none: "There are no such events.",
					table: columns("[ID]", "[STARTS]", "TITLE", "LOCATION?", "PARTICIPANTS?", "STATUS"),
				}, func(e event) []string {
					taken := fmt.Sprint(e.ParticipantCount)
					if e.Capacity != nil {
						taken += " of " + fmt.Sprint(*e.Capacity)
					}
					return []string{e.ID, shown(e.StartTime, zoneOf(e.TimeZone)), e.Title, value(e.Location), taken, e.Status}
				})
			}
			return a.andWatch(ctx, c, watch, client.Stream{Types: eventFacts}, print)
		})(cmd, args)
	}
	return cmd
}

func (a *app) getEvent() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:               "get EVENT",
		Short:             "Show an event, as it is or as it was",
		Args:              takes("an event's id"),
		ValidArgsFunction: a.completeEvents,
	}
	past := pastOf(cmd)
	watched(cmd, &watch)
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, args []string) error {
		query := url.Values{}
		if err := past.into(a, query, watch); err != nil {
			return err
		}
		return a.andWatch(ctx, c, watch, client.Stream{EventID: args[0], Types: storyFacts}, func() error {
			reply, err := c.Do(ctx, client.Request{Method: http.MethodGet, Path: one("/v1/events", args[0]), Query: query})
			if err != nil {
				return err
			}
			return show(a, reply.Body, eventDetails)
		})
	})
	return cmd
}

// localTime reads a time as one of this machine's zone.
func (a *app) localTime(text string) (time.Time, error) {
	return parseTime(text, time.Now(), machineZone(a.Env))
}

func (a *app) eventHistory() *cobra.Command {
	var (
		limit int
		watch bool
	)
	cmd := &cobra.Command{
		Use:               "history EVENT",
		Short:             "Tell all that has happened to an event and its participants, oldest first",
		Args:              takes("an event's id"),
		ValidArgsFunction: a.completeEvents,
	}
	limited(cmd, &limit)
	watched(cmd, &watch)
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, args []string) error {
		zone := machineZone(a.Env)
		return a.andWatch(ctx, c, watch, client.Stream{EventID: args[0], Types: storyFacts}, func() error {
			return list(ctx, a, c, listing{
				path: one("/v1/events", args[0], "history"), limit: limit, none: "Nothing has happened.",
				table: columns("REVISION", "[WHEN]", "BY", "[WHAT]", "DETAILS"),
			}, func(f fact) []string {
				return []string{fmt.Sprint(f.Revision), shownExactly(f.OccurredAt, zone), f.Actor, f.Type, f.gist()}
			})
		})
	})
	return cmd
}
