package projections

import (
	"context"
	"database/sql"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/belltower/belltower/events"
	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/internal/memstore"
	"github.com/belltower/belltower/internal/sqldb"
	"github.com/belltower/belltower/internal/sqldb/sqldbtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var dawn = time.Date(2031, 5, 6, 7, 0, 0, 123456000, time.UTC)

// world is a log to write to, and its clock.
type world struct {
	t        require.TestingT
	store    *memstore.Store
	keys     *fakeKeys
	clock    atomic.Int64
	revision map[string]int64
	ids      uint64
	last     eventstore.Position
	logged   *logged
	again    chan struct{} // lets a follower that stands still try again
	target   sqldb.Target  // where the read models are; zero: in the folder that is opened
}

// onEach runs test on a database of each kind.
func onEach(t *testing.T, test func(t *testing.T, w *world)) {
	sqldbtest.Databases(t, func(t *testing.T, target sqldb.Target) {
		w := newWorld(t)
		if target.Shared() {
			w.target = target
		}
		test(t, w)
	})
}

// fewer lets properties be tried on a quarter of the histories where each step of
// one is a trip to a server.
func fewer(t *testing.T, target sqldb.Target) {
	if !target.Shared() {
		return
	}
	checks := flag.Lookup("rapid.checks").Value.String()
	n, err := strconv.Atoi(checks)
	require.NoError(t, err)
	require.NoError(t, flag.Set("rapid.checks", strconv.Itoa(max(1, n/4))))
	t.Cleanup(func() { require.NoError(t, flag.Set("rapid.checks", checks)) })
}

func newWorld(t require.TestingT) *world {
	w := &world{t: t, store: memstore.New(), keys: &fakeKeys{}, revision: map[string]int64{}, logged: &logged{}, again: make(chan struct{})}
	w.clock.Store(dawn.UnixMicro())
	w.store.Now = w.now
	return w
}

func (w *world) now() time.Time            { return time.UnixMicro(w.clock.Load()).UTC() }
func (w *world) pass(by time.Duration)     { w.clock.Add(by.Microseconds()) }
func (w *world) at(min int) time.Time      { return dawn.Add(time.Duration(min) * time.Minute) }
func (w *world) revisionOf(s string) int64 { return w.revision[s] - 1 }

// add appends facts to a stream, a second after what was last added.
func (w *world) add(stream string, facts ...events.Fact) eventstore.Position {
	w.pass(time.Second)
	metadata, err := json.Marshal(events.Metadata{Actor: "ann", OccurredAt: w.now()})
	require.NoError(w.t, err)
	var records []eventstore.NewRecord
	for _, f := range facts {
		w.ids++
		id := uuid.NewSHA1(uuid.Nil, fmt.Appendf(nil, "fact %d", w.ids))
		data, err := events.Encode(w.keys, id, f)
		require.NoError(w.t, err)
		records = append(records, eventstore.NewRecord{ID: id, Type: f.Name(), Data: data, Metadata: metadata})
	}
	return w.addRecords(stream, records...)
}

func (w *world) addRecords(stream string, records ...eventstore.NewRecord) eventstore.Position {
	p, err := w.store.Append(context.Background(), stream, w.revision[stream]-1, records)
	require.NoError(w.t, err)
	w.revision[stream] += int64(len(records))
	w.last = p
	return p
}

// event appends to an event's stream; notification to a notification's.
func (w *world) event(id string, facts ...events.Fact) eventstore.Position {
	return w.add("event-"+id, facts...)
}

func (w *world) notification(id string, facts ...events.Fact) eventstore.Position {
	return w.add("notification-"+id, facts...)
}

func (w *world) options() Options {
	return Options{Store: w.store, Keys: w.keys, Now: w.now, Logger: slog.New(slog.NewTextHandler(w.logged, nil)), Target: w.target}
}

// open opens the read models in dir without following.
func (w *world) open(dir string) *Models {
	m, err := Open(context.Background(), dir, w.options())
	require.NoError(w.t, err)
	m.pause = func(ctx context.Context, _ int) {
		select {
		case <-w.again:
		case <-ctx.Done():
		}
	}
	return m
}

// models follows the log in a new folder until the test ends.
func (w *world) models(t *testing.T) *Models {
	m := w.open(t.TempDir())
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	w.follow(t, m)
	return m
}

// follow starts following; stop waits until it has ended.
func (w *world) follow(t *testing.T, m *Models) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Follow(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
	t.Cleanup(stop)
	return stop
}

// eventID is the id of a fact that add hasn't made.
func eventID(n byte) uuid.UUID { return uuid.NewSHA1(uuid.Nil, []byte{n}) }

// patience bounds only how long a test that fails takes.
const patience = 5 * time.Minute

// shown waits until m shows all that was added.
func (w *world) shown(m *Models) *Models {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(w.t, m.WaitFor(ctx, w.last))
	return m
}

// records reads the whole log.
func (w *world) records() []eventstore.Record {
	sub, err := w.store.Subscribe(context.Background(), eventstore.Start)
	require.NoError(w.t, err)
	defer sub.Close()
	var out []eventstore.Record
	for {
		b, err := sub.Next(context.Background())
		require.NoError(w.t, err)
		out = append(out, b.Records...)
		if b.CaughtUp {
			return out
		}
	}
}

func (w *world) facts() []fact {
	var out []fact
	for _, r := range w.records() {
		f, err := read(w.keys, r)
		require.NoError(w.t, err)
		out = append(out, f)
	}
	return out
}

// dump writes down every row, once all is swept. Nobody may be following.
func dump(t require.TestingT, m *Models) string {
	for more := true; more; {
		var err error
		more, err = m.writer.sweep()
		require.NoError(t, err)
	}
	var out strings.Builder
	for _, s := range append([]shape{{table: "{checkpoint}", keys: 1, columns: strings.Fields("version log_commit log_prepare fact_id created facts")}}, shapes...) {
		fmt.Fprintf(&out, "%s: %s\n", s.name(), strings.Join(s.columns, " | "))
		require.NoError(t, m.writer.rows(func(row scanner) error {
			values := make([]sql.NullString, len(s.columns))
			into := make([]any, len(values))
			for i := range values {
				into[i] = &values[i]
			}
			err := row.Scan(into...)
			fmt.Fprintln(&out, "  "+strings.Join(texted(values), " | "))
			return err
		}, "SELECT "+strings.Join(s.columns, ", ")+" FROM "+s.table+" ORDER BY "+strings.Join(s.key(), ", ")))
	}
	return out.String()
}

func texted(values []sql.NullString) []string {
	out := make([]string, len(values))
	for i, v := range values {
		if out[i] = v.String; !v.Valid {
			out[i] = "NULL"
		}
	}
	return out
}

// foldBatch folds facts without following.
func (m *Models) foldBatch(facts []fact) error { return m.writer.foldAll(facts, m.maxFacts) }

// empty takes everything out of the rows, as if they were begun.
func (m *Models) empty(t require.TestingT) {
	for _, s := range shapes {
		_, err := m.writer.exec("DELETE FROM " + s.table)
		require.NoError(t, err)
	}
	_, err := m.writer.exec("UPDATE {checkpoint} SET log_commit = 0, log_prepare = 0, fact_id = ?, created = 0, facts = 0", uuid.Nil.String())
	require.NoError(t, err)
	require.NoError(t, m.writer.load())
}

// fakeKeys seals nothing, and forgets on demand.
type fakeKeys struct {
	erased sync.Map
	broken atomic.Bool
}

func (k *fakeKeys) Seal(_ int64, plain, _ []byte) ([]byte, error) { return plain, nil }

func (k *fakeKeys) Open(key int64, sealed, _ []byte) ([]byte, bool, error) {
	if k.broken.Load() {
		return nil, false, errBrokenKeys
	}
	if _, erased := k.erased.Load(key); erased {
		return nil, false, nil
	}
	return sealed, true, nil
}

// logged keeps what was logged.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logged) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Reset()
}

var _ io.Writer = (*logged)(nil)

func ptr[T any](v T) *T { return &v }

// meeting is an event from 10 to 12 hours after dawn.
func meeting(id string) events.EventScheduled {
	return events.EventScheduled{
		EventID: id, Title: "Meeting " + id, Description: "To talk", CreatorID: "carl",
		Times: events.TimesIn(dawn.Add(10*time.Hour), dawn.Add(12*time.Hour), time.UTC),
	}
}

func guest(event, id string) events.ParticipantRegistered {
	return events.ParticipantRegistered{
		EventID: event, ParticipantID: id, UserID: "user-" + id,
		Personal: events.Personal{Key: int64(len(id)), Name: "Guest " + id, Email: id + "@example.org"},
	}
}

func waiting(event, id string) events.ParticipantRegistered {
	g := guest(event, id)
	g.Waitlisted = true
	return g
}

func scheduled(id, event, participant string, at time.Time) events.NotificationScheduled {
	return events.NotificationScheduled{
		NotificationID: id, EventID: event, ParticipantID: participant, ReminderID: "r", Channel: "email",
		ScheduledTime: at, Expires: at.Add(time.Hour),
	}
}

// all reads a list to its end.
func all[T any](t require.TestingT, limit int, read func(Page) (List[T], error)) []T {
	out := []T{}
	for page := (Page{Limit: limit}); ; {
		l, err := read(page)
		require.NoError(t, err)
		require.LessOrEqual(t, len(l.Items), limit)
		out = append(out, l.Items...)
		if page.Cursor = l.NextCursor; page.Cursor == "" {
			return out
		}
	}
}
