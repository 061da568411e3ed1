package reminders

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/aggregates"
	"github.com/belltower/belltower/channels"
	"github.com/belltower/belltower/commands"
	"github.com/belltower/belltower/eventstore/embedded"
	"github.com/belltower/belltower/keys"
)

var besideRounds = flag.Int("beside", 10, "how many announcements BenchmarkBesideABrokenChannel sends, one each 100 ms, to 20 people by two channels")

const (
	besideEvery  = 100 * time.Millisecond
	besidePeople = 20
	besideLead   = 5 * time.Second // in which all is planned
)

// answering is a channel that keeps how late its calls were.
type answering struct {
	answer func(ctx context.Context) channels.Result
	mu     sync.Mutex
	late   []time.Duration
}

func (*answering) Check(channels.Message) error { return nil }

func (a *answering) Send(ctx context.Context, m channels.Message) channels.Result {
	if m.Attempt == 1 {
		a.mu.Lock()
		a.late = append(a.late, time.Since(m.Due))
		a.mu.Unlock()
	}
	return a.answer(ctx)
}

func (a *answering) times() []time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	times := slices.Clone(a.late)
	slices.Sort(times)
	return times
}

// BenchmarkBesideABrokenChannel is how late text messages leave while e-mail's
// provider works, hangs until its time is up, answers after two seconds, can't be
// reached, or refuses us: real time, the embedded log, each in turn on a log of its own.
// Both channels have as much to send.
func BenchmarkBesideABrokenChannel(b *testing.B) {
	b.StopTimer()
	for _, c := range []struct {
		name   string
		answer func(ctx context.Context) channels.Result
	}{
		{"works", func(context.Context) channels.Result { return channels.Result{Outcome: channels.Accepted} }},
		{"hangs", func(ctx context.Context) channels.Result {
			<-ctx.Done()
			return channels.Result{Outcome: channels.Unknown, Code: "timeout"}
		}},
		{"slow", func(ctx context.Context) channels.Result {
			select {
			case <-ctx.Done():
				return channels.Result{}
			case <-time.After(2 * time.Second):
				return channels.Result{Outcome: channels.Accepted}
			}
		}},
		{"dead", func(context.Context) channels.Result {
			return channels.Result{Outcome: channels.Later, Code: "connect"}
		}},
		{"refuses", func(context.Context) channels.Result {
			return channels.Result{Outcome: channels.Broken, Code: "http_401"}
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.StopTimer()
			var late []time.Duration
			for range b.N {
				late = append(late, runBeside(b, *besideRounds, c.answer)...)
			}
			slices.Sort(late)
			ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
			b.ReportMetric(ms(late[len(late)/2]), "late-p50-ms")
			b.ReportMetric(ms(late[len(late)*99/100]), "late-p99-ms")
			b.ReportMetric(ms(late[len(late)-1]), "late-max-ms")
			b.ReportMetric(0, "ns/op") // it would count the waiting
		})
	}
}

// runBeside gives how late each text message was.
func runBeside(b *testing.B, rounds int, answer func(ctx context.Context) channels.Result) []time.Duration {
	ctx, end := context.WithCancel(context.Background())
	defer end()
	dir, logger := b.TempDir(), slog.New(slog.DiscardHandler)
	log, err := embedded.Open(ctx, dir, embedded.Options{Now: time.Now, Logger: logger})
	require.NoError(b, err)
	defer func() { require.NoError(b, log.Close()) }()
	ring, err := keys.Open(ctx, dir)
	require.NoError(b, err)
	defer func() { require.NoError(b, ring.Close()) }()
	mail, text := &answering{answer: answer}, &answering{answer: func(context.Context) channels.Result { return channels.Result{Outcome: channels.Accepted} }}
	registered := []channels.Registration{
		{Name: "email", Kind: channels.Email, Provider: "a", Channel: mail, Timeout: 5 * time.Second},
		{Name: "sms", Kind: channels.Phone, Provider: "b", Channel: text, Timeout: 5 * time.Second},
	}
	handler := commands.NewHandler(commands.Options{Store: log, Keys: ring, Now: time.Now, PhoneRegion: "DE", Channels: Kinds(registered)})
	defer handler.Close()
	r, err := New(Options{Commands: handler, Store: log, Channels: registered, Dir: dir, Now: time.Now, Logger: logger})
	require.NoError(b, err)
	defer func() { require.NoError(b, r.Close()) }()
	var running sync.WaitGroup
	running.Go(func() { _ = r.Run(ctx, time.Millisecond) })
	defer running.Wait()
	defer end()

	by, start := commands.Caller{Actor: "bench"}, time.Now()
	_, err = commands.Do(ctx, handler, commands.ScheduleEvent{EventID: "e", Fields: aggregates.EventFields{
		Title: "Practice", Description: "Rounds", CreatorID: "bench", StartTime: start.Add(time.Hour), EndTime: start.Add(2 * time.Hour), TimeZone: "UTC",
	}}, by, nothing[*aggregates.Event])
	require.NoError(b, err)
	for i := range besidePeople {
		_, err := commands.Do(ctx, handler, commands.RegisterParticipant{EventID: "e", ParticipantID: fmt.Sprint("p", i), Contact: aggregates.ContactFields{
			UserID: fmt.Sprint("u", i), Name: "Ann", Email: fmt.Sprintf("u%d@example.org", i), Phone: fmt.Sprintf("+4915112345%03d", i), Channels: []string{"email", "sms"},
		}}, by, nothing[*aggregates.Event])
		require.NoError(b, err)
	}
	first := time.Now().Add(besideLead)
	for i := range rounds {
		at := first.Add(time.Duration(i) * besideEvery)
		_, err := commands.Do(ctx, handler, commands.Announce{EventID: "e", AnnouncementID: fmt.Sprint("a", i), Fields: aggregates.AnnouncementFields{Message: "Soft shoes", SendAt: &at}}, by, nothing[*aggregates.Event])
		require.NoError(b, err)
	}
	require.NoError(b, r.planned(ctx))
	for len(text.times()) < rounds*besidePeople {
		time.Sleep(10 * time.Millisecond)
	}
	return text.times()
}
