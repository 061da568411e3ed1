package storetest

import (
	"fmt"
	"slices"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/belltower/belltower/eventstore"
)

var modelTests = map[string]func(*fixture){
	"any sequence of calls answers as a list would": func(f *fixture) {
		rapid.Check(f.T, func(t *rapid.T) { newModel(f, t).run(t) })
	},
}

// model is the log as a plain list of appends for each of a few streams.
type model struct {
	f       *fixture
	origin  eventstore.Position
	streams []string
	appends map[string][]modelAppend
}

type modelAppend struct {
	expected int64
	records  []eventstore.NewRecord
	position eventstore.Position
}

func newModel(f *fixture, t *rapid.T) *model {
	m := &model{f: f, appends: map[string][]modelAppend{}}
	for i := range 3 {
		m.streams = append(m.streams, stream(fmt.Sprint("model", i)))
	}
	var err error
	m.origin, err = f.store.End(f.ctx)
	require.NoError(t, err)
	return m
}

func (m *model) run(t *rapid.T) {
	t.Repeat(map[string]func(*rapid.T){
		"append": func(t *rapid.T) {
			s := m.draw(t)
			m.append(t, s, m.end(s), draw(t, "records"))
		},
		"append anywhere": func(t *rapid.T) {
			s := m.draw(t)
			m.append(t, s, rapid.Int64Range(-2, m.end(s)+2).Draw(t, "expected"), draw(t, "records"))
		},
		"repeat": func(t *rapid.T) {
			s := m.draw(t)
			if len(m.appends[s]) == 0 {
				t.Skip("nothing to repeat")
			}
			// Some records of the stream, beginning and ending anywhere: now and
			// then exactly what was appended at once.
			i := rapid.IntRange(0, len(m.appends[s])-1).Draw(t, "append")
			first := int(m.appends[s][i].expected) + 1
			n := len(m.appends[s][i].records)
			if rapid.Bool().Draw(t, "regrouped") {
				first = max(0, first+rapid.IntRange(-1, 1).Draw(t, "shift"))
				n = max(1, n+rapid.IntRange(-1, 2).Draw(t, "stretch"))
			}
			all := m.records(s)
			first = min(first, len(all)-1)
			m.append(t, s, int64(first)-1, all[first:min(first+n, len(all))])
		},
		"read": func(t *rapid.T) {
			s := m.draw(t)
			all := m.records(s)
			from := rapid.IntRange(0, len(all)+1).Draw(t, "from")
			limit := rapid.IntRange(1, 10).Draw(t, "limit")
			got, err := m.f.store.ReadStream(m.f.ctx, s, int64(from), limit)
			require.NoError(t, err)
			first := min(from, len(all))
			want := all[first:min(first+limit, len(all))]
			require.Len(t, got, len(want))
			for i, r := range got {
				requireSame(t, want[i], r)
				require.EqualValues(t, first+i, r.Revision)
			}
		},
		"": func(t *rapid.T) {
			for _, s := range m.streams {
				last, ok, err := m.f.store.ReadLast(m.f.ctx, s)
				require.NoError(t, err)
				require.Equal(t, m.end(s) != eventstore.NoStream, ok)
				if ok {
					require.Equal(t, m.end(s), last.Revision)
					require.Equal(t, m.appends[s][len(m.appends[s])-1].position, last.Position)
				}
			}
		},
	})
	m.checkOrder(t)
}

// append appends to both and compares the answers.
func (m *model) append(t *rapid.T, s string, expected int64, given []eventstore.NewRecord) {
	p, err := m.f.store.Append(m.f.ctx, s, expected, given)
	if expected == m.end(s) {
		require.NoError(t, err)
		m.appends[s] = append(m.appends[s], modelAppend{expected, given, p})
		return
	}
	for _, a := range m.appends[s] {
		if a.expected == expected && slices.EqualFunc(a.records, given, sameID) {
			require.NoError(t, err)
			require.Equal(t, a.position, p)
			return
		}
	}
	requireWrongRevision(t, err, s, expected, m.end(s))
}

func sameID(a, b eventstore.NewRecord) bool { return a.ID == b.ID }

// checkOrder requires that the whole log since the beginning delivers the
// streams' records, in the order in which they were appended.
func (m *model) checkOrder(t *rapid.T) {
	var want []modelAppend
	for _, s := range m.streams {
		want = append(want, m.appends[s]...)
	}
	slices.SortFunc(want, func(a, b modelAppend) int { return a.position.Compare(b.position) })
	var ids []uuid.UUID
	for _, a := range want {
		for _, r := range a.records {
			ids = append(ids, r.ID)
		}
	}
	sub, err := m.f.store.Subscribe(m.f.ctx, m.origin)
	require.NoError(t, err)
	defer func() { require.NoError(t, sub.Close()) }()
	var got []uuid.UUID
	for after, caughtUp := m.origin, false; !caughtUp; {
		b, err := sub.Next(m.f.ctx)
		require.NoError(t, err)
		requireBatch(t, b, after)
		for _, r := range b.Records {
			got = append(got, r.ID)
		}
		after, caughtUp = b.Position, b.CaughtUp
	}
	require.Equal(t, ids, got)
}

func (m *model) draw(t *rapid.T) string { return rapid.SampledFrom(m.streams).Draw(t, "stream") }

func draw(t *rapid.T, label string) []eventstore.NewRecord {
	return records(rapid.IntRange(1, 4).Draw(t, label))
}

func (m *model) records(s string) []eventstore.NewRecord {
	var all []eventstore.NewRecord
	for _, a := range m.appends[s] {
		all = append(all, a.records...)
	}
	return all
}

func (m *model) end(s string) int64 { return int64(len(m.records(s))) - 1 }
