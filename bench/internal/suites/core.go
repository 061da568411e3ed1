package suites

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/bench/internal/lab"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore/embedded"
	"github.com/belltower/belltower/keys"
)

// core is the way in to a data folder, in this process: what a suite asks of the
// log and of commands alone, and what makes long histories without HTTP. The
// service goes on with such a folder as with one of its own.
type core struct {
	dir     string
	log     *embedded.Log
	ring    *keys.Ring
	handler *commands.Handler
	keep    bool
}

// openCore makes a data folder.
func openCore(ctx context.Context, l *lab.Lab) (*core, error) {
	dir, err := l.Folder("data")
	if err != nil {
		return nil, err
	}
	c := &core{dir: dir}
	if c.log, err = embedded.Open(ctx, dir, embedded.Options{}); err != nil {
		return nil, err
	}
	if c.ring, err = keys.Open(ctx, dir); err != nil {
		return nil, errors.Join(err, c.log.Close())
	}
	c.handler = commands.NewHandler(commands.Options{
		Store: c.log, Keys: c.ring, Now: time.Now, Channels: map[string]aggregates.AddressKind{"email": aggregates.EmailAddress},
	})
	return c, nil
}

// close closes the folder, and removes it unless it is kept.
func (c *core) close() error {
	c.handler.Close()
	err := errors.Join(c.ring.Close(), c.log.Close())
	if !c.keep {
		err = errors.Join(err, os.RemoveAll(c.dir))
	}
	return err
}

// do does a command and looks at nothing of the answer.
func do[T any, S commands.State[T]](ctx context.Context, c *core, cmd commands.Command[S]) error {
	_, err := commands.Do(ctx, c.handler, cmd, commands.Caller{Actor: "bench", CorrelationID: uuid.NewString()}, func(S, time.Time) struct{} { return struct{}{} })
	return err
}

// stableID is a UUID that is always the same for a name.
func stableID(name string) string { return uuid.NewSHA1(uuid.NameSpaceOID, []byte(name)).String() }

func (c *core) schedule(ctx context.Context, id string, start time.Time) error {
	return do[aggregates.Event](ctx, c, commands.ScheduleEvent{EventID: id, Fields: aggregates.EventFields{
		Title: "Bell-ringing course", Description: "Rounds and call changes, for beginners", CreatorID: "bench",
		StartTime: start, EndTime: start.Add(time.Hour), TimeZone: "Europe/Vienna", Location: "The tower", Tags: []string{"course"},
	}})
}

func (c *core) remind(ctx context.Context, event string, minutesBefore int) error {
	return do[aggregates.Event](ctx, c, commands.AddReminder{
		EventID: event, ReminderID: stableID(fmt.Sprint(event, " reminder ", minutesBefore)), Fields: aggregates.ReminderFields{MinutesBefore: &minutesBefore},
	})
}

// history makes events with participants and reminders, all of which begin at
// start. The first reminder is a day before, each further one a minute earlier.
// name tells events of several histories apart.
func (c *core) history(ctx context.Context, name string, events, participants, reminders int, start time.Time) error {
	making, ctx := errgroup.WithContext(ctx)
	making.SetLimit(256)
	for e := range events {
		making.Go(func() error {
			id := stableID(fmt.Sprint(name, " ", e))
			if err := c.schedule(ctx, id, start); err != nil {
				return fmt.Errorf("schedule an event: %w", err)
			}
			for p := range participants {
				if err := c.register(ctx, id, p); err != nil {
					return fmt.Errorf("register a participant: %w", err)
				}
			}
			for r := range reminders {
				if err := c.remind(ctx, id, 24*60+r); err != nil {
					return fmt.Errorf("add a reminder: %w", err)
				}
			}
			return nil
		})
	}
	return making.Wait()
}
