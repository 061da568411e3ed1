package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/belltower/belltower/internal/client"
)

// Types of domain events.
var (
	eventFacts        = []string{"EventScheduled", "EventDetailsChanged", "EventRescheduled", "EventCapacityChanged", "EventCancelled", "EventDeleted"}
	participantFacts  = []string{"ParticipantRegistered", "ParticipantContactChanged", "ParticipantResponded", "ParticipantPromoted", "ParticipantRemoved", "ParticipantOptedOut", "ParticipantOptedIn"}
	reminderFacts     = []string{"ReminderAdded", "ReminderRemoved"}
	notificationFacts = []string{"NotificationScheduled", "NotificationCancelled", "SendingStarted", "NotificationSent", "SendingFailed", "ProviderAsked", "NotificationFailed", "NotificationDelivered", "AttemptBounced", "NotificationRetried"}
	processorFacts    = []string{"ProcessorStarted", "ProcessorStopped", "NotificationsCleared"}
	storyFacts        = slices.Concat(eventFacts, participantFacts, reminderFacts, []string{"AnnouncementMade"})
	allFacts          = slices.Concat(storyFacts, notificationFacts, processorFacts)
)

// fact is a domain event as a history or the live stream shows it.
type fact struct {
	Type       string          `json:"type"`
	Stream     string          `json:"stream"`
	OccurredAt time.Time       `json:"occurred_at"`
	Actor      string          `json:"actor"`
	Revision   int64           `json:"revision"`
	Data       json.RawMessage `json:"data"`
}

// machinery is what a fact has for programs alone.
var machinery = []string{"event_id", "notification_id", "email_digest", "boot", "for_ms", "local_start", "local_end"}

// gist says what stands in a fact, in its own order.
func (f fact) gist() string {
	var parts []string
	decoder := json.NewDecoder(bytes.NewReader(f.Data))
	depth, name := 0, ""
	for {
		token, err := decoder.Token()
		if err != nil { // the end, or what nobody can read
			return strings.Join(parts, ", ")
		}
		switch t := token.(type) {
		case json.Delim:
			if t == '{' {
				depth++
			} else if t == '}' {
				depth--
			} else if t == '[' {
				parts = appendList(parts, name, decoder)
			}
			name = ""
		case string:
			if name == "" {
				name = t
				continue
			}
			parts, name = appendPart(parts, name, t), ""
		default:
			if name != "" && token != nil {
				parts = appendPart(parts, name, fmt.Sprint(token))
			}
			name = ""
		}
	}
}

func appendPart(parts []string, name, text string) []string {
	if text == "" || slices.Contains(machinery, name) {
		return parts
	}
	return append(parts, strings.ReplaceAll(name, "_", " ")+" "+text)
}

// appendList reads a list of words to its end.
func appendList(parts []string, name string, decoder *json.Decoder) []string {
	var words []string
	for decoder.More() {
		var word any
		if decoder.Decode(&word) != nil {
			return parts
		}
		words = append(words, fmt.Sprint(word))
	}
	_, _ = decoder.Token() // the bracket; what is wrong shows next
	return appendPart(parts, name, strings.Join(words, " "))
}

// watched gives a command the flag to go on with the live stream.
func watched(cmd *cobra.Command, watch *bool) {
	cmd.Flags().BoolVarP(watch, "watch", "w", false, "go on, and show what happens as it happens, until interrupted")
}

// andWatch prints, and then, where that is wanted, every domain event from there
// on. What happens while it prints may show in both, and is never left out.
func (a *app) andWatch(ctx context.Context, c *client.Client, watch bool, s client.Stream, print func() error) error {
	if !watch {
		return print()
	}
	var err error
	if s.After, err = c.Position(ctx); err != nil {
		return err
	}
	if err := print(); err != nil {
		return err
	}
	return a.follow(ctx, c, s)
}

// follow shows domain events until it is interrupted, which is its proper end.
func (a *app) follow(ctx context.Context, c *client.Client, s client.Stream) error {
	s.Lost = func(err error) { a.note("The connection is lost (%v); trying again.\n", err) }
	s.Found = func() { a.note("There is a connection again; nothing was missed.\n") }
	zone := machineZone(a.Env)
	err := c.Watch(ctx, s, func(f client.Fact) error { return a.fact(f, zone) })
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// fact prints one. For programs it has its position, too, to go on behind it.
func (a *app) fact(f client.Fact, zone *time.Location) error {
	if a.json {
		position, err := json.Marshal(f.Position)
		if err != nil {
			return err
		}
		return a.raw(slices.Concat([]byte(`{"position":`), position, []byte(","), bytes.TrimPrefix(f.Data, []byte("{"))))
	}
	read, err := decode[fact](f.Data)
	if err != nil {
		return err
	}
	a.say("%s  %s  %s  %s\n", read.OccurredAt.In(zone).Format(time.DateTime), a.out.paint(bold, read.Type), clean(read.Stream), clean(read.gist()))
	return nil
}

func (a *app) watch() *cobra.Command {
	var (
		s     client.Stream
		types []string
	)
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Show every domain event as it happens",
		Long: "Shows every domain event as it is committed, until interrupted. Where the connection\n" +
			"is lost, or the service is restarted, it goes on where it stood: none is left out, and\n" +
			"none comes twice. With --json each has its position, which --after takes.",
		Args: takes(),
	}
	cmd.Flags().StringVar(&s.EventID, "event", "", "only those of this event, an id")
	cmd.Flags().StringSliceVar(&types, "type", nil, "only those of this type, as EventScheduled; several with commas")
	cmd.Flags().StringVar(&s.After, "after", "", "begin behind this position (default: from now on; 0 is the beginning)")
	complete(cmd, "type", allFacts...)
	completeWith(cmd, "event", a.completeEvents)
	cmd.RunE = a.does(func(ctx context.Context, c *client.Client, _ []string) (err error) {
		if s.Types = types; s.After == "" {
			if s.After, err = c.Position(ctx); err != nil {
				return err
			}
		}
		return a.follow(ctx, c, s)
	})
	return cmd
}
