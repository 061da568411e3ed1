// Command clients goes the README's path through a client that oapi-codegen has
// made from the OpenAPI document: go run . URL TOKEN. docs/clients.md shows parts of it.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/oapi-codegen/nullable"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: clients URL TOKEN")
		os.Exit(2)
	}
	// A bound for the whole path, far above what it takes.
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	if err := run(ctx, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "go client:", err)
		os.Exit(1)
	}
	fmt.Println("go client: all well")
}

// path is what one step hands on to the next.
type path struct {
	client *ClientWithResponses
	after  ConsistencyToken // of the last write
	event  Event
	ann    Participant
}

func run(ctx context.Context, url, token string) error {
	// docs: client
	client, err := NewClientWithResponses(url, WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+token)
		return nil
	}))
	// docs: end
	if err != nil {
		return err
	}
	p := &path{client: client}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"schedule an event, twice with one key", p.schedule},
		{"see every fault of a wrong one", p.refused},
		{"register a participant", p.register},
		{"remind", p.remind},
		{"announce", p.announce},
		{"clear a field, and not over a newer state", p.change},
		{"read the history", p.history},
		{"read the stream", p.stream},
		{"read the statistics", p.stats},
		{"delete the event", p.remove},
	} {
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Println("go client:", step.name)
	}
	return nil
}

// unexpected says what was answered in place of what should have been.
func unexpected(status string, body []byte) error {
	return fmt.Errorf("answered %s: %s", status, body)
}

func (p *path) schedule(ctx context.Context) error {
	start := time.Now().Add(2 * time.Hour)
	// docs: schedule
	key := uuid.NewString() // of this wish: kept for as long as it is tried
	made, err := p.client.ScheduleEventWithResponse(ctx, &ScheduleEventParams{IdempotencyKey: &key}, NewEvent{
		Title: "Bell-ringing course", Description: "Rounds", Location: nullable.NewNullableWithValue("The tower"),
		StartTime: start, EndTime: start.Add(2 * time.Hour),
	})
	if err != nil {
		return err // no answer came: try again with the same key
	}
	if made.JSON201 == nil {
		return unexpected(made.Status(), made.Body)
	}
	// docs: end
	again, err := p.client.ScheduleEventWithResponse(ctx, &ScheduleEventParams{IdempotencyKey: &key}, NewEvent{
		Title: "Bell-ringing course", Description: "Rounds", Location: nullable.NewNullableWithValue("The tower"),
		StartTime: start, EndTime: start.Add(2 * time.Hour),
	})
	if err != nil {
		return err
	}
	if again.JSON201 == nil || again.JSON201.Id != made.JSON201.Id || again.HTTPResponse.Header.Get("Idempotent-Replayed") != "true" {
		return fmt.Errorf("the same key made another event: %w", unexpected(again.Status(), again.Body))
	}
	p.event, p.after = *made.JSON201, made.Headers201.ConsistencyToken
	return nil
}

func (p *path) refused(ctx context.Context) error {
	start := time.Now().Add(2 * time.Hour)
	got, err := p.client.ScheduleEventWithResponse(ctx, nil, NewEvent{Description: "Rounds", StartTime: start, EndTime: start.Add(-time.Hour)})
	if err != nil {
		return err
	}
	// docs: faults
	if problem := got.ApplicationproblemJSON422; problem != nil && problem.Errors != nil {
		for _, fault := range *problem.Errors {
			fmt.Printf("  %s: %s (%s)\n", fault.Field, fault.Message, fault.Code)
		}
	}
	// docs: end
	if got.ApplicationproblemJSON422 == nil || got.ApplicationproblemJSON422.Errors == nil || len(*got.ApplicationproblemJSON422.Errors) != 2 {
		return unexpected(got.Status(), got.Body)
	}
	return nil
}

func (p *path) register(ctx context.Context) error {
	got, err := p.client.RegisterParticipantWithResponse(ctx, p.event.Id, nil, NewParticipant{UserId: "ann", Name: "Ann", Email: "ann@example.org"})
	if err != nil {
		return err
	}
	if got.JSON201 == nil || got.JSON201.Status != ParticipantStatusConfirmed {
		return unexpected(got.Status(), got.Body)
	}
	p.ann, p.after = *got.JSON201, got.Headers201.ConsistencyToken
	return nil
}

// remind has the event moved until the reminder's time is over and the start is
// not: then it goes out at once.
func (p *path) remind(ctx context.Context) error {
	made, err := p.client.AddReminderWithResponse(ctx, p.event.Id, nil, NewReminder{MinutesBefore: nullable.NewNullableWithValue(60)})
	if err != nil {
		return err
	}
	if made.JSON201 == nil {
		return unexpected(made.Status(), made.Body)
	}
	start := time.Now().Add(30 * time.Minute)
	end := start.Add(time.Hour)
	moved, err := p.client.ChangeEventWithApplicationMergePatchPlusJSONBodyWithResponse(ctx, p.event.Id, nil, EventPatch{StartTime: &start, EndTime: &end})
	if err != nil {
		return err
	}
	if moved.JSON200 == nil {
		return unexpected(moved.Status(), moved.Body)
	}
	p.after = moved.Headers200.ConsistencyToken
	return p.sent(ctx, func(n NotificationSummary) bool { return !n.ReminderId.IsNull() })
}

func (p *path) announce(ctx context.Context) error {
	got, err := p.client.AnnounceWithResponse(ctx, p.event.Id, nil, NewAnnouncement{Message: "{{ participant.name }}, please bring soft shoes."})
	if err != nil {
		return err
	}
	if got.JSON202 == nil || got.JSON202.Recipients != 1 {
		return unexpected(got.Status(), got.Body)
	}
	p.after = got.Headers202.ConsistencyToken
	return p.sent(ctx, func(n NotificationSummary) bool { return !n.AnnouncementId.IsNull() })
}

// sent looks until a notification that is meant is SENT.
func (p *path) sent(ctx context.Context, meant func(NotificationSummary) bool) error {
	for {
		// docs: read your writes
		got, err := p.client.ListEventNotificationsWithResponse(ctx, p.event.Id, &ListEventNotificationsParams{ConsistencyToken: &p.after})
		// docs: end
		if err != nil {
			return err
		}
		if got.JSON200 == nil {
			return unexpected(got.Status(), got.Body)
		}
		for _, n := range got.JSON200.Items {
			if meant(n) && n.Status == NotificationSummaryStatusSENT {
				return nil
			}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("it is not sent: %s", got.Body)
		}
	}
}

func (p *path) change(ctx context.Context) error {
	// docs: change
	seen, err := p.client.GetEventWithResponse(ctx, p.event.Id, &GetEventParams{ConsistencyToken: &p.after})
	if err != nil {
		return err
	}
	if seen.JSON200 == nil {
		return unexpected(seen.Status(), seen.Body)
	}
	changed, err := p.client.ChangeEventWithApplicationMergePatchPlusJSONBodyWithResponse(ctx, p.event.Id,
		&ChangeEventParams{IfMatch: &seen.Headers200.ETag},
		EventPatch{Location: nullable.NewNullNullable[string]()}) // null clears it; what is not named stays
	if err != nil {
		return err
	}
	// docs: end
	if changed.JSON200 == nil || !changed.JSON200.Location.IsNull() || changed.JSON200.Title != p.event.Title {
		return unexpected(changed.Status(), changed.Body)
	}
	p.after = changed.Headers200.ConsistencyToken
	title := "Another"
	stale, err := p.client.ChangeEventWithApplicationMergePatchPlusJSONBodyWithResponse(ctx, p.event.Id,
		&ChangeEventParams{IfMatch: &seen.Headers200.ETag}, EventPatch{Title: &title})
	if err != nil {
		return err
	}
	if stale.ApplicationproblemJSON412 == nil {
		return unexpected(stale.Status(), stale.Body)
	}
	return nil
}

func (p *path) history(ctx context.Context) error {
	var types []string
	limit := 2
	for params := (GetHistoryParams{Limit: &limit}); ; {
		got, err := p.client.GetHistoryWithResponse(ctx, p.event.Id, &params)
		if err != nil {
			return err
		}
		if got.JSON200 == nil {
			return unexpected(got.Status(), got.Body)
		}
		for _, fact := range got.JSON200.Items {
			types = append(types, fact.Type)
		}
		if params.Cursor = got.JSON200.NextCursor; params.Cursor == nil {
			break
		}
	}
	want := []string{"EventScheduled", "ParticipantRegistered", "ReminderAdded", "EventRescheduled", "AnnouncementMade", "EventDetailsChanged"}
	if !slices.Equal(types, want) {
		return fmt.Errorf("it has %v, not %v", types, want)
	}
	return nil
}

func (p *path) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx) // which ends the stream
	defer cancel()
	// docs: stream
	since := "0" // the id of the last event received; without it, from now on
	got, err := p.client.StreamFacts(ctx, &StreamFactsParams{LastEventID: &since, EventId: &p.event.Id})
	if err != nil {
		return err
	}
	defer got.Body.Close()
	lines := bufio.NewScanner(got.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		var fact StreamedFact
		if err := json.Unmarshal([]byte(data), &fact); err != nil {
			return err
		}
		if fact.Type == "EventDetailsChanged" {
			return nil
		}
	}
	// docs: end
	return errors.Join(errors.New("it ended before the last change"), lines.Err())
}

func (p *path) stats(ctx context.Context) error {
	got, err := p.client.GetStatsWithResponse(ctx, &GetStatsParams{ConsistencyToken: &p.after})
	if err != nil {
		return err
	}
	if got.JSON200 == nil || got.JSON200.Conservation.Holes != 0 || !bytes.Contains(got.Body, []byte(`"SENT"`)) {
		return unexpected(got.Status(), got.Body)
	}
	return nil
}

func (p *path) remove(ctx context.Context) error {
	gone, err := p.client.DeleteEventWithResponse(ctx, p.event.Id, nil)
	if err != nil {
		return err
	}
	if gone.StatusCode() != http.StatusNoContent {
		return unexpected(gone.Status(), gone.Body)
	}
	got, err := p.client.GetEventWithResponse(ctx, p.event.Id, &GetEventParams{ConsistencyToken: &gone.Headers204.ConsistencyToken})
	if err != nil {
		return err
	}
	if got.ApplicationproblemJSON404 == nil || got.ApplicationproblemJSON404.Code != "event_not_found" {
		return unexpected(got.Status(), got.Body)
	}
	return nil
}
