// Package storetest states what every eventstore.Store must do. An adapter runs
// it over itself:
//
//	func TestContract(t *testing.T) { storetest.Run(t, open) }
//
// Nothing here asks for more than the port promises: positions are opaque but
// for their order, and the log may hold records of others.
package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/belltower/belltower/eventstore"
)

// Open opens a store for one test; while that runs, nothing else may append to
// it. reopen closes the store that was opened last and opens the same data again.
// What is open at the end is closed by Run.
type Open func(t *testing.T) (store eventstore.Store, reopen func() eventstore.Store)

// patience bounds every test, so that a store that hangs fails instead.
const patience = 2 * time.Minute

// Run runs the whole suite, each test on a store of its own.
func Run(t *testing.T, open Open) {
	for _, group := range []map[string]func(*fixture){
		appendTests, repeatTests, limitTests, readTests, raceTests, subscribeTests, lifeTests, modelTests,
	} {
		for name, test := range group {
			t.Run(name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				f := &fixture{T: t, ctx: ctx}
				f.store, f.reopen = open(t)
				defer func() { require.NoError(t, f.store.Close()) }()
				var err error
				f.origin, err = f.store.End(ctx)
				require.NoError(t, err)
				test(f)
			})
		}
	}
}

// fixture is what a test works with.
type fixture struct {
	*testing.T
	ctx    context.Context
	store  eventstore.Store
	reopen func() eventstore.Store
	origin eventstore.Position // the log's end as the test began
}

// stream returns a name that no other test uses.
func stream(name string) string { return name + "-" + uuid.NewString() }

// records makes n records of about 100 bytes.
func records(n int) []eventstore.NewRecord {
	made := make([]eventstore.NewRecord, n)
	for i := range made {
		id := uuid.New()
		made[i] = eventstore.NewRecord{
			ID:       id,
			Type:     "TestHappened",
			Data:     fmt.Appendf(nil, `{"id":%q,"number":%d}`, id, i),
			Metadata: fmt.Appendf(nil, `{"actor":"storetest","$correlationId":%q}`, id),
		}
	}
	return made
}

// sized makes one record whose size is n bytes.
func sized(n int) eventstore.NewRecord {
	r := eventstore.NewRecord{ID: uuid.New(), Type: "TestHappened", Metadata: []byte(`{}`)}
	text := make([]byte, n-eventstore.Size(r)-2)
	for i := range text {
		text[i] = 'a' + byte(i%26)
	}
	r.Data = append(append([]byte{'"'}, text...), '"')
	return r
}

// append appends, which must succeed.
func (f *fixture) append(stream string, expected int64, records []eventstore.NewRecord) eventstore.Position {
	f.Helper()
	p, err := f.store.Append(f.ctx, stream, expected, records)
	require.NoError(f, err)
	return p
}

// refused appends, which must be refused because the stream is at actual.
func (f *fixture) refused(stream string, expected, actual int64, records []eventstore.NewRecord) {
	f.Helper()
	_, err := f.store.Append(f.ctx, stream, expected, records)
	requireWrongRevision(f, err, stream, expected, actual)
}

func requireWrongRevision(t require.TestingT, err error, stream string, expected, actual int64) {
	require.ErrorIs(t, err, eventstore.ErrWrongRevision)
	var wrong *eventstore.WrongRevisionError
	require.ErrorAs(t, err, &wrong)
	require.Equal(t, eventstore.WrongRevisionError{Stream: stream, Expected: expected, Actual: actual}, *wrong)
}

// read returns all of a stream.
func (f *fixture) read(stream string) []eventstore.Record {
	f.Helper()
	const page = 500
	var all []eventstore.Record
	for {
		next, err := f.store.ReadStream(f.ctx, stream, int64(len(all)), page)
		require.NoError(f, err)
		require.LessOrEqual(f, len(next), page)
		all = append(all, next...)
		if len(next) < page {
			return all
		}
	}
}

// holds requires that a stream holds exactly what was appended, in that order.
func (f *fixture) holds(stream string, appended ...[]eventstore.NewRecord) []eventstore.Record {
	f.Helper()
	var want []eventstore.NewRecord
	for _, records := range appended {
		want = append(want, records...)
	}
	got := f.read(stream)
	require.Len(f, got, len(want))
	for i, r := range got {
		requireSame(f, want[i], r)
		require.Equal(f, stream, r.Stream)
		require.EqualValues(f, i, r.Revision)
		require.True(f, f.origin.Before(r.Position))
		if i > 0 {
			require.True(f, got[i-1].Position.Before(r.Position), "positions increase in a stream")
		}
	}
	return got
}

func requireSame(t require.TestingT, want eventstore.NewRecord, got eventstore.Record) {
	require.Equal(t, want.ID, got.ID)
	require.Equal(t, want.Type, got.Type)
	require.Equal(t, string(want.Data), string(got.Data))
	require.Equal(t, string(want.Metadata), string(got.Metadata))
}

// quote is s as JSON.
func quote(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always encodes
	}
	return b
}
