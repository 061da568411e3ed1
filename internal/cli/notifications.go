package cli

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/belltower/belltower/internal/client"
)

// notification is one as the service shows it.
type notification struct {
	ID                string     `json:"id"`
	EventID           string     `json:"event_id"`
	ReminderID        *string    `json:"reminder_id"`
	AnnouncementID    *string    `json:"announcement_id"`
	ParticipantID     string     `json:"participant_id"`
	Channel           string     `json:"channel"`
	FallbackOf        *string    `json:"fallback_of"`
	Status            string     `json:"status"`
	Message           *string    `json:"message"`
	ScheduledTime     time.Time  `json:"scheduled_time"`
	SentTime          *time.Time `json:"sent_time"`
	NextAttemptTime   *time.Time `json:"next_attempt_time"`
	Attempts          int        `json:"attempts"`
	LastError         *string    `json:"last_error"`
	InDoubt           bool       `json:"in_doubt"`
	ProviderMessageID *string    `json:"provider_message_id"`
	Revision          int64      `json:"revision"`
	AttemptLog        []struct {
		Number    int       `json:"number"`
		StartedAt time.Time `json:"started_at"`
		Provider  *string   `json:"provider"`
		Outcome   string    `json:"outcome"`
		Error     *string   `json:"error"`
	} `json:"attempt_log"`
}

func (a *app) notifications() *cobra.Command {
	return group("notifications", "See what is sent to whom and why, try again, clean up",
		a.listNotifications(), a.getNotification(), a.explainNotification(), a.retryNotification(), a.cancelNotification(), a.sendDue(), a.clearNotifications())
}

func (a *app) notificationDetails(n notification) (d details) {
	zone := machineZone(a.Env)
	exactly := func(t *time.Time) string {
		if t == nil {
			return ""
		}
		return shownExactly(*t, zone)
	}
	d.add("id", n.ID)
	d.add("event", n.EventID)
	d.add("reminder", value(n.ReminderID))
	d.add("announcement", value(n.AnnouncementID))
	d.add("participant", n.ParticipantID)
	d.add("channel", n.Channel)
	if n.FallbackOf != nil {
		d.add("in place of", *n.FallbackOf)
	}
	d.add("status", n.Status)
	d.add("due", shownExactly(n.ScheduledTime, zone))
	d.add("sent", exactly(n.SentTime))
	d.add("next attempt", exactly(n.NextAttemptTime))
	d.add("message", value(n.Message))
	d.add("last error", value(n.LastError))
	if n.InDoubt {
		d.add("in doubt", "yes: an earlier attempt may have been sent")
	}
	d.add("provider's id", value(n.ProviderMessageID))
	for _, attempt := range n.AttemptLog {
		text := shownExactly(attempt.StartedAt, zone)
		if attempt.Provider != nil {
			text += ", by " + *attempt.Provider
		}
		text += ", " + attempt.Outcome
		if attempt.Error != nil {
			text += ": " + *attempt.Error
		}
		d.add(fmt.Sprintf("attempt %d", attempt.Number), text)
	}
	d.add("revision", fmt.Sprint(n.Revision))
	return d
}

func (a *app) listNotifications() *cobra.Command {
	var (
		f     filter
		of    string
		limit int
		watch bool
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List notifications, in order of the time that they are due",
		Args:  takes(),
	}
	cmd.Flags().StringVar(&of, "event", "", "only those of this event, an id")
	completeWith(cmd, "event", a.completeEvents)
	f.choice(cmd, "status", "status", "of that status", "PENDING", "READY", "SENDING", "SENT", "DELIVERED", "FAILED", "CANCELLED")
	f.text(cmd.Flags(), "channel", "channel", "of that channel: email, sms, push")
	f.text(cmd.Flags(), "participant", "participant_id", "to that participant, an id")
	f.time(cmd.Flags(), "due-before", "due_before", "due before this time")
	f.time(cmd.Flags(), "due-after", "due_after", "due after this time")
	limited(cmd, &limit)
	watched(cmd, &watch)
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, _ []string) error {
		query, err := f.query(cmd.Flags(), a.localTime)
		if err != nil {
			return err
		}
		path := "/v1/notifications"
		if of != "" {
			path = one("/v1/events", of, "notifications")
		}
		zone := machineZone(a.Env)
		return a.andWatch(ctx, c, watch, client.Stream{EventID: of, Types: notificationFacts}, func() error {
			return list(ctx, a, c, listing{
				path: path, query: query, limit: limit, none: "There are no such notifications.",
				table: columns("[ID]", "[DUE]", "[STATUS]", "CHANNEL?", "ATTEMPTS?", "MESSAGE OR ERROR"),
			}, func(n notification) []string {
				says := value(n.Message)
				if n.LastError != nil {
					says = *n.LastError
				}
				return []string{n.ID, shown(n.ScheduledTime, zone), n.Status, n.Channel, fmt.Sprint(n.Attempts), says}
			})
		})
	})
	return cmd
}

func (a *app) getNotification() *cobra.Command {
	cmd := &cobra.Command{
		Use:               "get NOTIFICATION",
		Short:             "Show a notification with its attempts",
		Args:              takes("a notification's id"),
		ValidArgsFunction: a.completeNotifications("FAILED", "READY", "PENDING"),
	}
	past := pastOf(cmd)
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, args []string) error {
		document, err := getAsOf(ctx, a, c, one("/v1/notifications", args[0]), past)
		if err != nil {
			return err
		}
		return show(a, document, a.notificationDetails)
	})
	return cmd
}

func (a *app) retryNotification() *cobra.Command {
	return a.byHand("retry NOTIFICATION", "Send one that was given up once more", "FAILED")
}

func (a *app) cancelNotification() *cobra.Command {
	return a.byHand("cancel NOTIFICATION", "Keep one from being sent", "PENDING", "READY")
}

// byHand is a command that has one notification treated otherwise than planned.
func (a *app) byHand(use, short string, states ...string) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: takes("a notification's id"), ValidArgsFunction: a.completeNotifications(states...)}
	key := keyed(cmd.Flags())
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, args []string) error {
		return writeAndShow(ctx, a, c, client.Request{
			Method: http.MethodPost, Path: one("/v1/notifications", args[0], cmd.Name()), Body: struct{}{}, Key: keyOr(*key),
		}, a.notificationDetails)
	})
	return cmd
}

func (a *app) sendDue() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "send-due",
		Short: "Try all that are due now, also while the processor is stopped",
		Args:  takes(),
	}
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, _ []string) error {
		stop := a.progress("sending what is due", nil)
		swept, err := a.write(ctx, c, client.Request{Method: http.MethodPost, Path: "/v1/notifications/send-due", Slow: true})
		stop()
		if err != nil {
			return err
		}
		return show(a, swept, func(v struct {
			Sent     int `json:"sent"`
			Failed   int `json:"failed"`
			StillDue int `json:"still_due"`
		}) (d details) {
			d.add("sent", fmt.Sprint(v.Sent))
			d.add("failed", fmt.Sprint(v.Failed))
			d.add("still due", fmt.Sprint(v.StillDue))
			return d
		})
	})
	return cmd
}

func (a *app) clearNotifications() *cobra.Command {
	var days int
	cmd := &cobra.Command{
		Use:   "clear",
		Short: "Clean up: drop notifications from the lists that have long been concluded",
		Long:  "Drops notifications from the lists that have been SENT, DELIVERED, FAILED or CANCELLED for\nlonger than that. What happened to them stays in the log.",
		Args:  takes(),
	}
	cmd.Flags().IntVar(&days, "older-than-days", 30, "how long ago they were concluded; 0 is all of them")
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, _ []string) error {
		return writeAndShow(ctx, a, c, client.Request{
			Method: http.MethodDelete, Path: "/v1/notifications", Query: url.Values{"older_than_days": {strconv.Itoa(days)}},
		}, func(v struct {
			Removed int `json:"removed"`
		}) (d details) {
			d.add("removed", fmt.Sprint(v.Removed))
			return d
		})
	})
	return cmd
}
