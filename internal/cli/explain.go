package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/belltower/belltower/internal/client"
)

// explanation is all that bears on one notification, as the service has said it.
type explanation struct {
	Notification json.RawMessage   `json:"notification"`
	Event        json.RawMessage   `json:"event"`
	Participant  json.RawMessage   `json:"participant"`
	Reminder     json.RawMessage   `json:"reminder"`
	Processor    json.RawMessage   `json:"processor"`
	Facts        []json.RawMessage `json:"facts"`
}

func (a *app) explainNotification() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain NOTIFICATION",
		Short: "Tell why a notification was planned, and what became of it",
		Long: "Tells why a notification was planned and what became of it, from the log itself, which is\n" +
			"read from its beginning for that; and what can be done where it wasn't sent.",
		Args:              takes("a notification's id"),
		ValidArgsFunction: a.completeNotifications("FAILED", "READY", "PENDING"),
	}
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, args []string) error {
		x, n, err := a.gather(ctx, c, args[0])
		if err != nil {
			return err
		}
		if a.json {
			document, err := json.Marshal(x)
			if err != nil {
				return err
			}
			return a.raw(document)
		}
		return a.explain(x, n)
	})
	return cmd
}

// gather asks for what bears on a notification. What is gone by now is null.
func (a *app) gather(ctx context.Context, c *client.Client, id string) (x explanation, n notification, err error) {
	if x.Notification, err = get(ctx, c, one("/v1/notifications", id)); err != nil {
		return x, n, err
	}
	if n, err = decode[notification](x.Notification); err != nil {
		return x, n, err
	}
	paths := map[string]*json.RawMessage{
		one("/v1/events", n.EventID):             &x.Event,
		one("/v1/participants", n.ParticipantID): &x.Participant,
		"/v1/processor":                          &x.Processor,
	}
	if n.ReminderID != nil {
		paths[one("/v1/events", n.EventID, "reminders", *n.ReminderID)] = &x.Reminder
	}
	for path, into := range paths {
		document, err := get(ctx, c, path)
		var problem *client.Problem
		if errors.As(err, &problem) && problem.Status == 404 {
			continue
		} else if err != nil {
			return x, n, err
		}
		*into = document
	}
	x.Facts, err = a.factsOf(ctx, c, n)
	return x, n, err
}

// errAllSeen ends the stream.
var errAllSeen = errors.New("all that there is has been seen")

// factsOf reads a notification's domain events from the log, up to its present revision.
func (a *app) factsOf(ctx context.Context, c *client.Client, n notification) (all []json.RawMessage, err error) {
	defer a.progress("reading the log", nil)()
	err = c.Watch(ctx, client.Stream{EventID: n.EventID, Types: notificationFacts, After: "0"}, func(f client.Fact) error {
		read, err := decode[fact](f.Data)
		if err != nil {
			return err
		}
		if read.Stream != "notification-"+n.ID {
			return nil
		}
		all = append(all, f.Data)
		if read.Revision >= n.Revision {
			return errAllSeen
		}
		return nil
	})
	if errors.Is(err, errAllSeen) {
		return all, nil
	}
	return all, err
}

func (a *app) explain(x explanation, n notification) error {
	zone := machineZone(a.Env)
	var d details
	if x.Event != nil {
		e, err := decode[event](x.Event)
		if err != nil {
			return err
		}
		d.add("event", fmt.Sprintf("%s, %s, starts %s", e.Title, e.Status, shown(e.StartTime, zoneOf(e.TimeZone))))
	}
	who := "removed by now"
	if x.Participant != nil {
		p, err := decode[participant](x.Participant)
		if err != nil {
			return err
		}
		who = fmt.Sprintf("%s <%s>, %s, %s", p.Name, p.Email, p.states(), p.Response)
	}
	d.add("participant", who)
	switch {
	case n.ReminderID == nil:
		d.add("because of", "an announcement, "+value(n.AnnouncementID))
	case x.Reminder == nil:
		d.add("because of", "a reminder that is removed by now, "+*n.ReminderID)
	default:
		r, err := decode[reminder](x.Reminder)
		if err != nil {
			return err
		}
		d.add("because of", "the reminder "+span(r.MinutesBefore)+", "+r.ID)
	}
	d.add("channel", n.Channel)
	if n.FallbackOf != nil {
		d.add("in place of", *n.FallbackOf+", which failed, or had no receipt or answer")
	}
	d.add("due", shownExactly(n.ScheduledTime, zone))
	for _, document := range x.Facts {
		f, err := decode[fact](document)
		if err != nil {
			return err
		}
		d.add(f.OccurredAt.In(zone).Format(time.DateTime), said(f))
	}
	d.add("now", n.Status)
	var p processor
	if x.Processor != nil {
		var err error
		if p, err = decode[processor](x.Processor); err != nil {
			return err
		}
	}
	d.add("what to do", advice(n, p))
	return d.print(a.Out, a.out, a.out.columns)
}

// reasons say what a code in a fact means.
var reasons = map[string]string{
	"superseded":         "the event was moved, or the reminder or the channel changed: it is not wanted any more",
	"declined":           "the participant declined",
	"removed":            "the participant was removed",
	"opted_out":          "the participant wants no more messages about this event",
	"event_cancelled":    "the event was cancelled",
	"event_deleted":      "the event was deleted",
	"received":           "one before it in its chain of channels arrived or was answered",
	"by_hand":            "it was cancelled by hand",
	"missed":             "it could not be sent before it expired",
	"outcome_unknown":    "it may have been sent: nobody knows what became of the last attempt",
	"rejected":           "the provider refused it for good",
	"attempts_exhausted": "it was tried as often as is allowed",
	"bounced":            "the provider reported that it can't be delivered",
	"suppressed":         "nothing is sent to its address, until it is released by POST /v1/suppressions/release",
	"unrenderable":       "its text could not be made from the template",
	"temporary":          "not taken for now",
	"rate_limited":       "the provider wants fewer at a time",
	"unknown":            "it may have been sent",
	"broken":             "our settings or credentials are wrong",
	"postponed":          "the provider was not called",
}

// said tells what happened in one of a notification's facts.
func said(f fact) string {
	var v struct {
		Attempt           int       `json:"attempt"`
		Reason            string    `json:"reason"`
		Class             string    `json:"class"`
		Error             string    `json:"error"`
		To                string    `json:"to"`
		Provider          string    `json:"provider"`
		Answer            string    `json:"answer"`
		Found             bool      `json:"found"`
		Last              bool      `json:"last"`
		NextAttempt       time.Time `json:"next_attempt"`
		ProviderMessageID string    `json:"provider_message_id"`
	}
	_ = json.Unmarshal(f.Data, &v) // a newer service may say it otherwise: then its type says enough
	because := reasons[v.Reason+v.Class]
	if because == "" {
		because = v.Reason + v.Class
	}
	if v.Error != "" {
		because += " (" + v.Error + ")"
	}
	switch f.Type {
	case "NotificationScheduled":
		return "planned, as it was wanted then"
	case "NotificationCancelled":
		return fmt.Sprintf("cancelled by %s: %s", f.Actor, because)
	case "SendingStarted":
		if v.Provider != "" {
			return fmt.Sprintf("attempt %d began, by %s", v.Attempt, v.Provider)
		}
		return fmt.Sprintf("attempt %d began", v.Attempt)
	case "ProviderAsked":
		return asked(v.Attempt, v.Answer, v.Error, v.Last, v.NextAttempt)
	case "NotificationSent":
		if v.Found {
			return fmt.Sprintf("attempt %d: the provider was asked, and had taken it, to %s", v.Attempt, v.To)
		}
		return fmt.Sprintf("attempt %d: the provider took it, to %s", v.Attempt, v.To)
	case "SendingFailed":
		return fmt.Sprintf("attempt %d failed: %s; again from %s on", v.Attempt, because, v.NextAttempt.Format(time.RFC3339))
	case "NotificationFailed":
		return "given up: " + because
	case "NotificationDelivered":
		return "the provider reported that it was delivered"
	case "AttemptBounced":
		return fmt.Sprintf("attempt %d: the provider reported that it can't be delivered%s; another counts", v.Attempt, because)
	case "NotificationRetried":
		return "asked for once more, by " + f.Actor
	}
	return f.Type
}

// asked tells what a provider answered that was asked for an attempt.
func asked(attempt int, answer, words string, last bool, next time.Time) string {
	text := fmt.Sprintf("attempt %d: the provider was asked, and has not taken it", attempt)
	switch {
	case answer != "not_taken" && last:
		text = fmt.Sprintf("attempt %d: the provider was asked for the last time, and nobody knows whether it took it", attempt)
	case answer != "not_taken":
		text = fmt.Sprintf("attempt %d: the provider was asked, and it can't be told yet; again from %s on", attempt, next.Format(time.RFC3339))
	}
	if words != "" {
		text += " (" + words + ")"
	}
	return text
}

// advice says what can be done for a notification that isn't on its way.
func advice(n notification, p processor) string {
	switch n.Status {
	case "FAILED":
		return "mend what its error names, then: belltower notifications retry " + n.ID
	case "READY":
		if p.State == "stopped" {
			return "the processor is stopped: belltower processor start, or once: belltower notifications send-due"
		}
		return "nothing: it is tried as soon as its channel can"
	case "PENDING":
		if p.State == "stopped" {
			return "the processor is stopped, so that it won't be sent when it is due: belltower processor start"
		}
		return "nothing: it is sent when it is due"
	}
	return ""
}
