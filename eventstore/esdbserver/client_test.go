package esdbserver_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	client "github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/eventstore"
	"github.com/belltower/belltower/eventstore/embedded"
	"github.com/belltower/belltower/eventstore/esdbserver"
)

// world is a server over a new log, and the official client of it.
type world struct {
	*testing.T
	log *embedded.Log
	db  *client.Client
	at  string
}

func newWorld(t *testing.T, change ...func(*esdbserver.Options)) *world {
	log, err := embedded.Open(t.Context(), t.TempDir(), embedded.Options{Now: time.Now, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	o := esdbserver.Options{Store: log}
	for _, c := range change {
		c(&o)
	}
	server := esdbserver.New(o)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Close()
		require.NoError(t, <-ended)
	})
	w := &world{T: t, log: log, at: listener.Addr().String()}
	w.db = w.dial("esdb://" + w.at + "?tls=false")
	return w
}

func (w *world) dial(at string) *client.Client {
	w.Helper()
	config, err := client.ParseConnectionString(at)
	require.NoError(w, err)
	config.Logger = client.NoopLogging()
	config.MaxDiscoverAttempts = 3
	db, err := client.NewClient(config)
	require.NoError(w, err)
	w.Cleanup(func() { require.NoError(w, db.Close()) })
	return db
}

// made makes n events.
func made(n int) []client.EventData {
	all := make([]client.EventData, n)
	for i := range all {
		all[i] = client.EventData{EventID: uuid.New(), EventType: "Happened", ContentType: client.ContentTypeJson, Data: []byte(`{"n":1}`), Metadata: []byte(`{"m":2}`)}
	}
	return all
}

func (w *world) append(stream string, expected client.ExpectedRevision, events ...client.EventData) (*client.WriteResult, error) {
	return w.db.AppendToStream(w.Context(), stream, client.AppendToStreamOptions{ExpectedRevision: expected}, events...)
}

func (w *world) appends(stream string, expected client.ExpectedRevision, events ...client.EventData) *client.WriteResult {
	w.Helper()
	result, err := w.append(stream, expected, events...)
	require.NoError(w, err)
	return result
}

func code(t require.TestingT, err error) client.ErrorCode {
	var e *client.Error
	require.ErrorAs(t, err, &e)
	return e.Code()
}

// drained reads all that a read gives.
func drained(read *client.ReadStream, err error) (all []*client.RecordedEvent, _ error) {
	if err != nil {
		return nil, err
	}
	defer read.Close()
	for {
		e, err := read.Recv()
		if errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, err
		}
		all = append(all, e.OriginalEvent())
	}
}

func (w *world) read(stream string, o client.ReadStreamOptions, count uint64) ([]*client.RecordedEvent, error) {
	return drained(w.db.ReadStream(w.Context(), stream, o, count))
}

func (w *world) readAll(o client.ReadAllOptions, count uint64) []*client.RecordedEvent {
	w.Helper()
	all, err := drained(w.db.ReadAll(w.Context(), o, count))
	require.NoError(w, err)
	return all
}

func revisions(events []*client.RecordedEvent) (all []int) {
	for _, e := range events {
		all = append(all, int(e.EventNumber))
	}
	return all
}

func TestExpectations(t *testing.T) {
	w := newWorld(t)
	first := w.appends("s", client.NoStream{}, made(2)...)
	require.EqualValues(t, 1, first.NextExpectedVersion)
	require.NotZero(t, first.CommitPosition)
	_, err := w.append("s", client.NoStream{}, made(1)...)
	require.Equal(t, client.ErrorCodeWrongExpectedVersion, code(t, err))
	require.Contains(t, err.Error(), "expecting 'no_stream' but got '1'")
	_, err = w.append("s", client.Revision(0), made(1)...)
	require.Contains(t, err.Error(), "expecting '0' but got '1'")
	_, err = w.append("none", client.Revision(3), made(1)...)
	require.Contains(t, err.Error(), "got 'no_stream'")
	_, err = w.append("none", client.StreamExists{}, made(1)...)
	require.Contains(t, err.Error(), "expecting 'stream_exists' but got 'no_stream'")
	require.EqualValues(t, 2, w.appends("s", client.StreamExists{}, made(1)...).NextExpectedVersion)
	require.EqualValues(t, 3, w.appends("s", client.Any{}, made(1)...).NextExpectedVersion)
	require.EqualValues(t, 0, w.appends("new", client.Any{}, made(1)...).NextExpectedVersion)
}

func TestRepeatedAppends(t *testing.T) {
	w := newWorld(t)
	events := made(3)
	first := w.appends("s", client.NoStream{}, events...)
	again := w.appends("s", client.NoStream{}, events...)
	require.Equal(t, first.NextExpectedVersion, again.NextExpectedVersion)
	require.Zero(t, again.CommitPosition, "a repetition has no position")

	// Without an expected revision, the stream's last 64 are compared.
	w.appends("s", client.Any{}, made(61)...)
	require.EqualValues(t, 2, w.appends("s", client.Any{}, events...).NextExpectedVersion)
	require.EqualValues(t, 1, w.appends("s", client.StreamExists{}, events[:2]...).NextExpectedVersion)
	_, err := w.append("s", client.Any{}, events[0], made(1)[0])
	require.Equal(t, client.ErrorCodeWrongExpectedVersion, code(t, err))
	w.appends("s", client.Any{}, made(1)...)
	require.EqualValues(t, 67, w.appends("s", client.Any{}, events...).NextExpectedVersion, "too far back: appended again")
}

func TestReadingAStream(t *testing.T) {
	w := newWorld(t)
	w.appends("s", client.NoStream{}, made(300)...)
	for _, c := range []struct {
		o           client.ReadStreamOptions
		count       uint64
		first, last int
	}{
		{client.ReadStreamOptions{}, 1000, 0, 299},
		{client.ReadStreamOptions{}, 10, 0, 9},
		{client.ReadStreamOptions{From: client.Revision(250)}, 1000, 250, 299},
		{client.ReadStreamOptions{Direction: client.Backwards, From: client.End{}}, 1, 299, 299},
		{client.ReadStreamOptions{Direction: client.Backwards, From: client.End{}}, 290, 299, 10},
		{client.ReadStreamOptions{Direction: client.Backwards, From: client.Revision(5)}, 1000, 5, 0},
		{client.ReadStreamOptions{Direction: client.Backwards, From: client.Revision(9999)}, 2, 299, 298},
	} {
		got, err := w.read("s", c.o, c.count)
		require.NoError(t, err)
		step := 1
		if c.last < c.first {
			step = -1
		}
		var want []int
		for i := c.first; i != c.last+step; i += step {
			want = append(want, i)
		}
		require.Equal(t, want, revisions(got))
	}
	got, err := w.read("s", client.ReadStreamOptions{From: client.Revision(300)}, 10)
	require.NoError(t, err)
	require.Empty(t, got)
	_, err = w.read("none", client.ReadStreamOptions{}, 10)
	require.Equal(t, client.ErrorCodeResourceNotFound, code(t, err))
	one, err := w.read("s", client.ReadStreamOptions{}, 1)
	require.NoError(t, err)
	require.Equal(t, "application/json", one[0].ContentType)
	require.Equal(t, `{"m":2}`, string(one[0].UserMetadata))
	require.WithinDuration(t, time.Now(), one[0].CreatedDate, time.Hour)
	w.appends("binary", client.NoStream{}, client.EventData{EventID: uuid.New(), EventType: "b", Data: []byte{0, 1, 2}})
	one, err = w.read("binary", client.ReadStreamOptions{}, 1)
	require.NoError(t, err)
	require.Equal(t, "application/octet-stream", one[0].ContentType)
	require.Equal(t, []byte{0, 1, 2}, one[0].Data)
}

func TestReadingAll(t *testing.T) {
	w := newWorld(t)
	require.Empty(t, w.readAll(client.ReadAllOptions{}, 10))
	for _, s := range []string{"a", "b", "a"} {
		w.appends(s, client.Any{}, made(100)...)
	}
	all := w.readAll(client.ReadAllOptions{}, 1000)
	require.Len(t, all, 300)
	backwards := w.readAll(client.ReadAllOptions{Direction: client.Backwards, From: client.End{}}, 1000)
	require.Len(t, backwards, 300)
	for i, e := range backwards {
		require.Equal(t, all[299-i].EventID, e.EventID)
	}
	from := all[200].Position
	require.Equal(t, all[200].EventID, w.readAll(client.ReadAllOptions{From: from}, 1)[0].EventID, "forwards from where it stands")
	require.Equal(t, all[199].EventID, w.readAll(client.ReadAllOptions{Direction: client.Backwards, From: from}, 1)[0].EventID, "backwards from before it")
	require.Empty(t, w.readAll(client.ReadAllOptions{From: client.End{}}, 10))
}

func TestDeletion(t *testing.T) {
	w := newWorld(t)
	w.appends("s", client.NoStream{}, made(3)...)
	_, err := w.db.DeleteStream(t.Context(), "s", client.DeleteStreamOptions{ExpectedRevision: client.Revision(1)})
	require.Error(t, err)
	_, err = w.db.DeleteStream(t.Context(), "s", client.DeleteStreamOptions{ExpectedRevision: client.Revision(2)})
	require.NoError(t, err)
	_, err = w.read("s", client.ReadStreamOptions{}, 10)
	require.Equal(t, client.ErrorCodeResourceNotFound, code(t, err))
	_, err = w.append("s", client.StreamExists{}, made(1)...)
	require.Equal(t, client.ErrorCodeWrongExpectedVersion, code(t, err))

	// It can be written to again, and its revisions go on.
	events := made(2)
	require.EqualValues(t, 4, w.appends("s", client.NoStream{}, events...).NextExpectedVersion)
	require.EqualValues(t, 4, w.appends("s", client.NoStream{}, events...).NextExpectedVersion, "the same again")
	_, err = w.append("s", client.NoStream{}, made(1)...)
	require.Equal(t, client.ErrorCodeWrongExpectedVersion, code(t, err))
	got, err := w.read("s", client.ReadStreamOptions{}, 10)
	require.NoError(t, err)
	require.Equal(t, []int{3, 4}, revisions(got))
	got, err = w.read("s", client.ReadStreamOptions{Direction: client.Backwards, From: client.End{}}, 10)
	require.NoError(t, err)
	require.Equal(t, []int{4, 3}, revisions(got))

	_, err = w.db.TombstoneStream(t.Context(), "s", client.TombstoneStreamOptions{})
	require.NoError(t, err)
	_, err = w.append("s", client.Any{}, made(1)...)
	require.Equal(t, client.ErrorCodeStreamDeleted, code(t, err))
	_, err = w.read("s", client.ReadStreamOptions{}, 10)
	require.Equal(t, client.ErrorCodeStreamDeleted, code(t, err))
	_, err = w.db.DeleteStream(t.Context(), "s", client.DeleteStreamOptions{})
	require.Equal(t, client.ErrorCodeStreamDeleted, code(t, err))
	_, err = w.append("$$s", client.Any{}, made(1)...)
	require.Equal(t, client.ErrorCodeStreamDeleted, code(t, err))
}

func TestMetadata(t *testing.T) {
	w := newWorld(t)
	w.appends("s", client.NoStream{}, made(10)...)
	var m client.StreamMetadata
	m.SetMaxCount(3)
	m.AddCustomProperty("mine", "kept")
	_, err := w.db.SetStreamMetadata(t.Context(), "s", client.AppendToStreamOptions{}, m)
	require.NoError(t, err)
	got, err := w.read("s", client.ReadStreamOptions{}, 100)
	require.NoError(t, err)
	require.Equal(t, []int{7, 8, 9}, revisions(got))
	w.appends("s", client.Revision(9), made(1)...)
	got, err = w.read("s", client.ReadStreamOptions{Direction: client.Backwards, From: client.End{}}, 100)
	require.NoError(t, err)
	require.Equal(t, []int{10, 9, 8}, revisions(got))
	_, err = w.db.DeleteStream(t.Context(), "s", client.DeleteStreamOptions{})
	require.NoError(t, err)
	kept, err := w.db.GetStreamMetadata(t.Context(), "s", client.ReadStreamOptions{Direction: client.Backwards, From: client.End{}})
	require.NoError(t, err)
	require.EqualValues(t, 3, *kept.MaxCount())
	require.Equal(t, "kept", kept.CustomProperty("mine"))
	require.EqualValues(t, 11, *kept.TruncateBefore())
}

// heard gathers what a subscription tells, until enough.
func heard(t *testing.T, sub *client.Subscription, enough func(events, checkpoints, caughtUp int) bool) (events []*client.RecordedEvent, checkpoints []client.Position) {
	t.Helper()
	caughtUp := 0
	for !enough(len(events), len(checkpoints), caughtUp) {
		switch e := sub.Recv(); {
		case e.SubscriptionDropped != nil:
			require.NoError(t, e.SubscriptionDropped.Error)
		case e.EventAppeared != nil:
			events = append(events, e.EventAppeared.OriginalEvent())
		case e.CheckPointReached != nil:
			checkpoints = append(checkpoints, *e.CheckPointReached)
		case e.CaughtUp != nil:
			caughtUp++
		}
	}
	return events, checkpoints
}

func TestSubscriptionToAll(t *testing.T) {
	w := newWorld(t)
	for range 10 {
		w.appends("noise", client.Any{}, made(50)...)
		w.appends("event-1", client.Any{}, made(1)...)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for name, filter := range map[string]*client.SubscriptionFilter{
		"prefix": {Type: client.StreamFilterType, Prefixes: []string{"other-", "event-"}},
		"regex":  {Type: client.StreamFilterType, Regex: "^event-.$"},
	} {
		t.Run(name, func(t *testing.T) {
			before := w.readAll(client.ReadAllOptions{Direction: client.Backwards, From: client.End{}}, 1)[0].Position
			sub, err := w.db.SubscribeToAll(ctx, client.SubscribeToAllOptions{From: client.Start{}, Filter: filter, MaxSearchWindow: 20})
			require.NoError(t, err)
			defer sub.Close()
			events, checkpoints := heard(t, sub, func(_, _, caughtUp int) bool { return caughtUp == 1 })
			require.GreaterOrEqual(t, len(events), 10)
			for _, e := range events {
				require.Equal(t, "event-1", e.StreamID)
			}
			require.Greater(t, len(checkpoints), 10)
			require.Equal(t, before, checkpoints[len(checkpoints)-1], "caught up with the log, not only with what passes")
			last := w.appends("event-1", client.Any{}, made(2)...)
			live, _ := heard(t, sub, func(events, _, _ int) bool { return events == 2 })
			require.Equal(t, last.CommitPosition, live[1].Position.Commit)

			resumed, err := w.db.SubscribeToAll(ctx, client.SubscribeToAllOptions{From: live[0].Position, Filter: filter})
			require.NoError(t, err)
			defer resumed.Close()
			rest, _ := heard(t, resumed, func(_, _, caughtUp int) bool { return caughtUp == 1 })
			require.Equal(t, []int{int(last.NextExpectedVersion)}, revisions(rest))
		})
	}
	t.Run("event type", func(t *testing.T) {
		sub, err := w.db.SubscribeToAll(ctx, client.SubscribeToAllOptions{From: client.End{}, Filter: &client.SubscriptionFilter{Type: client.EventFilterType, Prefixes: []string{"Rare"}}})
		require.NoError(t, err)
		defer sub.Close()
		heard(t, sub, func(_, _, caughtUp int) bool { return caughtUp == 1 })
		rare := made(1)[0]
		rare.EventType = "RareHappened"
		w.appends("x", client.Any{}, made(1)[0], rare)
		events, _ := heard(t, sub, func(events, _, _ int) bool { return events == 1 })
		require.Equal(t, rare.EventID, events[0].EventID)
	})
	_, err := w.db.SubscribeToAll(ctx, client.SubscribeToAllOptions{Filter: &client.SubscriptionFilter{Type: client.StreamFilterType, Regex: "("}})
	require.Error(t, err)
}

func TestSubscriptionToAStream(t *testing.T) {
	w := newWorld(t)
	w.appends("s", client.NoStream{}, made(300)...)
	w.appends("other", client.NoStream{}, made(5)...)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for _, c := range []struct {
		from client.StreamPosition
		next int
	}{{client.Start{}, 0}, {client.Revision(100), 101}, {client.End{}, 300}} {
		sub, err := w.db.SubscribeToStream(ctx, "s", client.SubscribeToStreamOptions{From: c.from})
		require.NoError(t, err)
		last := w.appends("s", client.StreamExists{}, made(2)...).NextExpectedVersion
		w.appends("other", client.StreamExists{}, made(1)...)
		count := int(last) - c.next + 1
		if _, end := c.from.(client.End); end {
			count = 2
		}
		events, _ := heard(t, sub, func(events, _, _ int) bool { return events == count })
		require.EqualValues(t, last, events[len(events)-1].EventNumber)
		for i, e := range events {
			require.Equal(t, "s", e.StreamID)
			require.EqualValues(t, int(last)-count+1+i, e.EventNumber)
		}
		require.NoError(t, sub.Close())
	}
}

func TestLargeAppendsAreRefused(t *testing.T) {
	w := newWorld(t)
	large := made(1)[0]
	large.Data = append(append([]byte{'"'}, make([]byte, eventstore.MaxAppendBytes)...), '"')
	_, err := w.append("s", client.NoStream{}, large)
	require.Error(t, err)
	_, err = w.append("s", client.NoStream{}, made(eventstore.MaxAppendRecords+1)...)
	require.Error(t, err)
	_, err = w.read("s", client.ReadStreamOptions{}, 1)
	require.Equal(t, client.ErrorCodeResourceNotFound, code(t, err))
}

func TestReadOnly(t *testing.T) {
	w := newWorld(t, func(o *esdbserver.Options) { o.ReadOnly = true })
	_, err := w.log.Append(t.Context(), "s", eventstore.NoStream, []eventstore.NewRecord{{ID: uuid.New(), Type: "t", Data: []byte("{}")}})
	require.NoError(t, err)
	got, err := w.read("s", client.ReadStreamOptions{}, 10)
	require.NoError(t, err)
	require.Len(t, got, 1)
	_, err = w.append("s", client.Any{}, made(1)...)
	require.Equal(t, client.ErrorCodeAccessDenied, code(t, err))
	_, err = w.db.DeleteStream(t.Context(), "s", client.DeleteStreamOptions{})
	require.Equal(t, client.ErrorCodeAccessDenied, code(t, err))
}

// A cluster of one: the client asks for its members, and goes on with the one it finds.
func TestGossip(t *testing.T) {
	w := newWorld(t)
	db := w.dial("esdb+discover://" + w.at + "?tls=false")
	_, err := db.AppendToStream(t.Context(), "s", client.AppendToStreamOptions{ExpectedRevision: client.NoStream{}}, made(1)...)
	require.NoError(t, err)
	version, err := db.GetServerVersion()
	require.NoError(t, err)
	require.Equal(t, client.ServerVersion{Major: 23, Minor: 10}, *version)
}

func TestTheRestIsUnimplemented(t *testing.T) {
	w := newWorld(t)
	err := w.db.CreatePersistentSubscription(t.Context(), "s", "g", client.PersistentStreamSubscriptionOptions{})
	require.Equal(t, client.ErrorCodeUnsupportedFeature, code(t, err))
}
