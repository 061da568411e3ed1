package httpapi_test

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/httpapi"
)

// processor keeps its state in the log, and sends nothing.
type processor struct {
	api *api

	mu      sync.Mutex
	err     error // of every call
	stats   httpapi.ProcessorStats
	sendDue httpapi.SendDueResult
}

func (p *processor) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.err = err
}

func (p *processor) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

func nothing(*aggregates.Processor, time.Time) struct{} { return struct{}{} }

func (p *processor) Start(ctx context.Context, by commands.Caller, interval *int) (eventstore.Position, error) {
	if err := p.failure(); err != nil {
		return eventstore.Position{}, err
	}
	a, err := commands.Do(ctx, p.api.commands, commands.StartProcessor{CheckIntervalSeconds: interval}, by, nothing)
	return a.Position, err
}

func (p *processor) Stop(ctx context.Context, by commands.Caller) (eventstore.Position, error) {
	if err := p.failure(); err != nil {
		return eventstore.Position{}, err
	}
	a, err := commands.Do(ctx, p.api.commands, commands.StopProcessor{}, by, nothing)
	return a.Position, err
}

func (p *processor) Status(ctx context.Context) (httpapi.ProcessorStatus, error) {
	if err := p.failure(); err != nil {
		return httpapi.ProcessorStatus{}, err
	}
	return commands.View(ctx, p.api.commands, commands.ProcessorStream, func(s *aggregates.Processor, _ int64) httpapi.ProcessorStatus {
		status := httpapi.ProcessorStatus{State: "running", CheckIntervalSeconds: s.Interval()}
		if s.Stopped {
			status.State = "stopped"
		}
		return status
	})
}

func (p *processor) SendDue(context.Context) (httpapi.SendDueResult, error) {
	return p.sendDue, p.failure()
}

func (p *processor) Stats(ctx context.Context) (httpapi.ProcessorStats, error) {
	status, err := p.Status(ctx)
	stats := p.stats
	stats.Processor = status
	return stats, err
}

// plan schedules a notification as the process manager would.
func (a *api) plan(f events.NotificationScheduled) string {
	a.t.Helper()
	if f.NotificationID == "" {
		f.NotificationID = uuid.NewString()
	}
	if f.Channel == "" {
		f.Channel = "email"
	}
	if f.ParticipantID == "" {
		f.ParticipantID = uuid.NewString()
	}
	if f.ReminderID == "" && f.AnnouncementID == "" {
		f.ReminderID = uuid.NewString()
	}
	if f.Expires.IsZero() {
		f.Expires = f.ScheduledTime.Add(24 * time.Hour)
	}
	a.notify(commands.ScheduleNotification{Fact: f})
	return f.NotificationID
}

// notify does a command of the process manager's.
func (a *api) notify(cmd commands.Command[*aggregates.Notification]) {
	a.t.Helper()
	by := commands.Caller{Actor: "planner", CorrelationID: "c", CausationID: "c"}
	got, err := commands.Do(a.t.Context(), a.commands, cmd, by, func(*aggregates.Notification, time.Time) struct{} { return struct{}{} })
	require.NoError(a.t, err)
	require.NotZero(a.t, got.Appended, "%T changed nothing", cmd)
}

const boot = "boot"

func (a *api) begin(id string) {
	a.t.Helper()
	a.notify(commands.StartSending{NotificationID: id, Boot: boot, ForMillis: 1000})
}

func (a *api) sent(id, event string, attempt int) {
	a.t.Helper()
	key, err := a.ring.Take(a.t.Context())
	require.NoError(a.t, err)
	a.notify(commands.RecordSent{Fact: events.NotificationSent{
		NotificationID: id, EventID: event, Attempt: attempt, SentTime: a.clock.now(), ProviderMessageID: "p-1",
		To: "a***@example.org", Personal: events.Personal{Key: key, Message: "Hello Ann"},
	}})
}

func (a *api) gaveUp(id, event string, attempt int, reason, why string) {
	a.t.Helper()
	a.notify(commands.GiveUp{Fact: events.NotificationFailed{
		NotificationID: id, EventID: event, Attempt: attempt, Reason: reason, Error: why,
	}})
}
